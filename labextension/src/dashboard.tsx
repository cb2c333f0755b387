/** The panel's views beside one another in the main area, each a column that can be moved. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { MessageLoop } from '@lumino/messaging';
import { DockPanel } from '@lumino/widgets';
import * as React from 'react';

import { takeDrops } from './drops';
import { icon } from './icon';
import type { Model } from './model';
import { Watching } from './panel';
import { VIEWS } from './views';
import type { IViewProps } from './views/view';

/** Two columns at first: the run and the history, and below them what goes with each. */
const PLACES: readonly [string, DockPanel.InsertMode, string][] = [
  ['running', 'split-right', ''],
  ['history', 'split-right', 'running'],
  ['devices', 'split-bottom', 'running'],
  ['doctor', 'split-bottom', 'history'],
  ['recorded', 'tab-after', 'history']
];

/** The widget; `shown` is told whether any of it can be seen. */
export function dashboard(
  model: Model,
  props: () => IViewProps,
  shown: (visible: boolean) => void,
  trans: TranslationBundle
): DockPanel {
  const columns = new DockPanel({ mode: 'multiple-document', spacing: 4 });
  columns.id = 'jp-gpupredict-dashboard';
  columns.addClass('jp-GpuPredict-dashboard');
  columns.title.label = trans.__('GPU Predict');
  columns.title.icon = icon;
  columns.title.closable = true;
  const made = new Map<string, Watching>();
  const visible = new Set<string>();
  for (const view of VIEWS) {
    const widget = new Watching(
      model,
      () => (
        <div className="jp-GpuPredict-view" data-view={view.id}>
          <view.Component {...props()} />
        </div>
      ),
      now => {
        visible[now ? 'add' : 'delete'](view.id);
        shown(visible.size > 0);
      }
    );
    widget.id = `jp-gpupredict-column-${view.id}`;
    widget.title.label = view.title(trans);
    widget.node.setAttribute('aria-label', widget.title.label);
    made.set(view.id, widget);
  }
  for (const [id, mode, ref] of PLACES) {
    const widget = made.get(id);
    if (widget) {
      columns.addWidget(widget, { mode, ref: made.get(ref) ?? null });
    }
  }
  takeDrops(columns.node, source => props().actions.predictFrom(source, {}));
  columns.node.tabIndex = -1;
  MessageLoop.installMessageHook(columns, (_, message) => {
    if (message.type === 'activate-request') {
      columns.node.focus(); // so that the application takes it for the current one
    }
    return true;
  });
  columns.disposed.connect(() => shown(false));
  return columns;
}
