/** The panel's views beside one another in the main area, each a column that can be moved. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { DockPanel } from '@lumino/widgets';
import * as React from 'react';

import { icon } from './icon';
import type { Model } from './model';
import { Watching } from './panel';
import { VIEWS } from './views';
import type { IViewProps } from './views/view';

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
  let before: Watching | null = null;
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
    // two columns: the run and the history have the room, what goes with them stands below
    const below = view.id === 'devices' || view.id === 'doctor';
    columns.addWidget(widget, { mode: below ? 'split-bottom' : 'split-right', ref: before });
    before = widget;
  }
  columns.disposed.connect(() => shown(false));
  return columns;
}
