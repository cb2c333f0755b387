import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { ReactWidget } from '@jupyterlab/ui-components';
import type { Panel } from '@lumino/widgets';
import * as React from 'react';

import { IGpuPredict } from '../tokens';
import { Became } from '../views/became';

/** As `frontends/widget.py` marks the output of a live view. */
const RUN = 'application/vnd.gpupredict.run+json';
const WIDGET = 'application/vnd.jupyter.widget-view+json';
/** Before that of ipywidgets, which has -10. */
const RANK = -20;
/** The result comes with the last frame, but not at once. */
const SETTLE_MS = 3000;
const GONE = ['restarting', 'autorestarting', 'terminating', 'dead'];

type Renderer = ReturnType<NotebookPanel['content']['rendermime']['createRenderer']>;

export const liveCells: JupyterFrontEndPlugin<void> = {
  id: 'jupyter_gpupredict:live-cells',
  description: 'Shows what became of a run in its cell, where its live view is gone.',
  autoStart: true,
  optional: [IGpuPredict, INotebookTracker],
  activate: (_app: JupyterFrontEnd, ours: IGpuPredict | null, notebooks: INotebookTracker | null) => {
    if (!ours || !notebooks) {
      return;
    }
    const prepare = (panel: NotebookPanel) => {
      const { rendermime } = panel.content;
      const createRenderer = () => {
        const widgets = rendermime.mimeTypes.includes(WIDGET);
        // Theirs, and not one around it: ipywidgets finds those that wait for a kernel by their place.
        const live = rendermime.createRenderer(widgets ? WIDGET : 'text/plain');
        new LiveCell(live, panel, ours);
        return live;
      };
      rendermime.addFactory({ safe: false, mimeTypes: [RUN], createRenderer }, RANK);
    };
    notebooks.forEach(prepare);
    notebooks.widgetAdded.connect((_, panel) => prepare(panel));
  }
};

/** The live view as ipywidgets shows it; without one, or without its kernel, what became of it. */
class LiveCell {
  private readonly stored: Stored;
  private readonly watch = new MutationObserver(() => this.attached && this.onAttached());
  private timer: ReturnType<typeof setTimeout> | undefined;
  private cut = false;

  constructor(
    private readonly live: Renderer,
    private readonly panel: NotebookPanel,
    ours: IGpuPredict
  ) {
    this.stored = new Stored(ours);
    const render = live.renderModel.bind(live);
    live.renderModel = async model => {
      const about = model.data[RUN] as { session_id?: unknown } | undefined;
      this.stored.run = String(about?.session_id ?? '');
      this.stored.otherwise = String(model.data['text/plain'] ?? '');
      this.watch.observe(live.node, { childList: true, subtree: true });
      this.timer = setTimeout(() => this.decide()); // once it stands in its cell
      return render(model);
    };
    panel.sessionContext.statusChanged.connect(this.onStatus, this);
    live.disposed.connect(() => this.dispose());
  }

  private dispose(): void {
    this.watch.disconnect();
    clearTimeout(this.timer);
    this.panel.sessionContext.statusChanged.disconnect(this.onStatus, this);
    this.stored.dispose();
  }

  private get attached(): HTMLElement | null {
    return this.live.node.querySelector<HTMLElement>('.gpupredict-live');
  }

  private onAttached(): void {
    this.watch.disconnect();
    this.decide();
    this.timer = setTimeout(() => this.decide(this.attached?.dataset.finished === 'true'), SETTLE_MS);
  }

  private onStatus(_: unknown, status: string): void {
    if (GONE.includes(status) && this.attached?.dataset.finished !== 'true') {
      this.cut = true;
      this.decide();
    }
  }

  /** Choose what is shown; nothing where the result says it all. */
  private decide(over = false): void {
    if (!this.stored.parent) {
      (this.live.parent as Panel | null)?.addWidget(this.stored);
    }
    const result = this.hasResult();
    const live = this.attached !== null && (result || !(this.cut || over));
    this.live.setHidden(!live);
    this.stored.setHidden(live || result);
  }

  /** Whether the run's result is among the outputs of the cell. */
  private hasResult(): boolean {
    const cell = this.panel.content.widgets.find(one => one.node.contains(this.live.node));
    const shared = cell?.model.sharedModel;
    const outputs = shared && 'getOutputs' in shared ? shared.getOutputs() : [];
    return JSON.stringify(outputs).includes('gpupredict-result');
  }
}

/** Asks for the run once it is shown. */
class Stored extends ReactWidget {
  run = '';
  otherwise = '';

  constructor(private readonly ours: IGpuPredict) {
    super();
    this.addClass('jp-OutputArea-output');
    this.hide();
  }

  override setHidden(hidden: boolean): void {
    super.setHidden(hidden);
    this.update();
  }

  protected render(): React.ReactElement {
    const { api, words } = this.ours.props();
    return this.isHidden ? <></> : <Became api={api} id={this.run} words={words} otherwise={this.otherwise} />;
  }
}
