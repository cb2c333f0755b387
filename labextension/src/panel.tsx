/** The side panel: the connection's state, three tabs, and the views of each. */
import { ReactWidget } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import * as React from 'react';

import { takeDrops } from './drops';
import { icon } from './icon';
import type { Model } from './model';
import { VIEWS } from './views';
import { Empty } from './views/parts';
import type { IPanelView, IViewProps } from './views/view';

export const PANEL_ID = 'jp-gpupredict-panel';
const SPOKEN_MS = 5000;
/** As in base.css: below it the panel may be narrower. */
const NARROW = '(max-width: 600px)';

/** Follows the model; draws nothing while it is hidden. */
export class Watching extends ReactWidget {
  private readonly narrow: MediaQueryList | undefined = window.matchMedia?.(NARROW);
  /** Lumino reads a least width only when it fits, and a page that is resized is not fitted. */
  private readonly onNarrow = (): void => this.parent?.fit();

  constructor(
    private readonly model: Model,
    private readonly draw: () => React.ReactElement,
    private readonly shown: (visible: boolean) => void
  ) {
    super();
    this.addClass('jp-GpuPredict');
    this.node.setAttribute('role', 'region');
    model.changed.connect(this.onChange, this);
    this.narrow?.addEventListener('change', this.onNarrow);
  }

  override dispose(): void {
    this.model.changed.disconnect(this.onChange, this);
    this.narrow?.removeEventListener('change', this.onNarrow);
    super.dispose();
  }

  protected render(): React.ReactElement {
    return this.draw();
  }

  protected override onAfterShow(msg: Message): void {
    super.onAfterShow(msg);
    this.shown(true);
    this.update();
  }

  protected override onAfterAttach(msg: Message): void {
    super.onAfterAttach(msg);
    this.shown(this.isVisible);
  }

  protected override onAfterHide(msg: Message): void {
    super.onAfterHide(msg);
    this.shown(false);
  }

  private onChange(): void {
    if (this.isVisible) {
      this.update();
    }
  }
}

/** The panel beside the notebook. */
export function panel(
  model: Model,
  props: () => IViewProps,
  shown: (visible: boolean) => void
): ReactWidget {
  const trans = props().words.trans;
  const widget = new Watching(model, () => <Shell {...props()} />, shown);
  widget.id = PANEL_ID;
  widget.title.icon = icon;
  widget.title.caption = trans.__('GPU Predict: devices, this notebook, history');
  widget.node.setAttribute('aria-label', trans.__('GPU Predict'));
  takeDrops(widget.node, source => props().actions.predictFrom(source, {}));
  return widget;
}

const TABS: readonly IPanelView['tab'][] = ['now', 'history', 'checks'];

export function Shell(props: IViewProps): React.ReactElement {
  const { model, words, settings, actions } = props;
  const trans = words.trans;
  const [tab, setTab] = React.useState<IPanelView['tab']>('now');
  React.useEffect(() => {
    if (model.recording) {
      setTab('history');
    }
  }, [model.recording?.source, model.recording?.at === 'asked']);
  const names: Record<IPanelView['tab'], string> = {
    now: trans.__('Now'),
    history: trans.__('History'),
    checks: trans.__('Checks')
  };
  const move = (event: React.KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const to =
      event.key === 'Home'
        ? TABS[0]
        : event.key === 'End'
          ? TABS.at(-1)
          : step && TABS[(TABS.indexOf(tab) + step + TABS.length) % TABS.length];
    if (to) {
      event.preventDefault();
      setTab(to);
      document.getElementById(`${PANEL_ID}-tab-${to}`)?.focus();
    }
  };
  const link = model.link;
  if (link.kind === 'missing') {
    return (
      <Empty
        why={trans.__('The server extension of GPU Predict is not there.')}
        next={trans.__(
          'Install jupyter_gpupredict beside the server, see that “jupyter server extension list” shows it, and restart the server.'
        )}
        action={trans.__('Retry')}
        onAction={actions.retry}
      />
    );
  }
  if (link.kind === 'forbidden') {
    return (
      <Empty
        why={trans.__('The server does not let you see this: you are not signed in, or not allowed.')}
        next={trans.__('Sign in again in another tab, then press Retry.')}
        action={trans.__('Retry')}
        onAction={actions.retry}
      />
    );
  }
  return (
    <>
      <div className="jp-GpuPredict-tabs" role="tablist" aria-label={trans.__('GPU Predict')}>
        {TABS.map(one => (
          <button
            key={one}
            type="button"
            role="tab"
            id={`${PANEL_ID}-tab-${one}`}
            aria-selected={tab === one}
            aria-controls={`${PANEL_ID}-view`}
            tabIndex={tab === one ? 0 : -1}
            onClick={() => setTab(one)}
            onKeyDown={move}
          >
            {names[one]}
          </button>
        ))}
      </div>
      {link.kind === 'disconnected' && (
        <Disconnected key={link.retry_at} retry_at={link.retry_at} message={link.message} {...props} />
      )}
      <div
        id={`${PANEL_ID}-view`}
        className="jp-GpuPredict-view"
        role="tabpanel"
        tabIndex={0}
        aria-labelledby={`${PANEL_ID}-tab-${tab}`}
      >
        {VIEWS.filter(view => view.tab === tab).map(view => (
          <section key={view.id} data-view={view.id} aria-labelledby={`${PANEL_ID}-${view.id}`}>
            <h3 id={`${PANEL_ID}-${view.id}`}>{view.title(trans)}</h3>
            <view.Component {...props} />
          </section>
        ))}
      </div>
      {settings.announce === 'polite' && <Spoken {...props} />}
    </>
  );
}

/** Counts down to the next attempt. */
function Disconnected(props: IViewProps & { retry_at: number; message: string }): React.ReactElement {
  const { words, actions, retry_at, message } = props;
  const trans = words.trans;
  const [now, setNow] = React.useState(Date.now());
  React.useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const left = Math.max(0, Math.ceil((retry_at - now) / 1000));
  return (
    <div className="jp-GpuPredict-warning jp-GpuPredict-link">
      <p>
        {left > 0
          ? trans.__('Disconnected: the server does not answer. Next attempt in %1 s.', String(left))
          : trans.__('Disconnected: trying again…')}
      </p>
      <p className="jp-GpuPredict-small">{message}</p>
      <button type="button" className="jp-GpuPredict-button" onClick={actions.retry}>
        {trans.__('Retry')}
      </button>
    </div>
  );
}

/** One sentence for screen readers, at most every five seconds, and only when it is another one. */
function Spoken({ model }: IViewProps): React.ReactElement {
  const answer = model.run?.answer ?? null;
  const text = answer ? `${answer.word}: ${answer.headline}` : '';
  const [said, say] = React.useState('');
  const at = React.useRef(0);
  React.useEffect(() => {
    if (text === said) {
      return;
    }
    const timer = setTimeout(
      () => {
        at.current = Date.now();
        say(text);
      },
      Math.max(0, at.current + SPOKEN_MS - Date.now())
    );
    return () => clearTimeout(timer);
  }, [text, said]);
  return (
    <div className="jp-GpuPredict-spoken" aria-live="polite">
      {said}
    </div>
  );
}
