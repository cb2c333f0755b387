import { ILabShell, ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, WidgetTracker } from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';
import { ITranslator } from '@jupyterlab/translation';
import type { DockPanel } from '@lumino/widgets';

import { dashboard as made } from '../dashboard';
import { icon } from '../icon';
import { IGpuPredict } from '../tokens';

const COMMAND = 'gpupredict:open-dashboard';

export const dashboard: JupyterFrontEndPlugin<void> = {
  id: 'jupyter_gpupredict:dashboard',
  description: 'The views of the panel in the main area, from the palette and the launcher.',
  autoStart: true,
  requires: [ITranslator],
  optional: [IGpuPredict, ILabShell, ICommandPalette, ILauncher, ILayoutRestorer],
  activate: (
    app: JupyterFrontEnd,
    translator: ITranslator,
    ours: IGpuPredict | null,
    shell: ILabShell | null,
    palette: ICommandPalette | null,
    launcher: ILauncher | null,
    restorer: ILayoutRestorer | null
  ) => {
    if (!ours || !shell) {
      return; // Notebook 7 has one document a page, and no place for it
    }
    const trans = translator.load('jupyter_gpupredict');
    const tracker = new WidgetTracker<DockPanel>({ namespace: 'gpupredict-dashboard' });
    app.commands.addCommand(COMMAND, {
      label: args => (args.isLauncher ? trans.__('GPU Predict') : trans.__('Open Dashboard')),
      caption: trans.__('This notebook’s run, devices, history and checks side by side'),
      icon,
      execute: () => {
        let widget = tracker.currentWidget;
        if (!widget) {
          widget = made(ours.model, ours.props, ours.shown('dashboard'), trans);
          void tracker.add(widget);
          shell.add(widget, 'main');
        }
        shell.activateById(widget.id);
      }
    });
    void restorer?.restore(tracker, { command: COMMAND, name: () => 'gpupredict' });
    palette?.addItem({ command: COMMAND, category: trans.__('GPU Predict') });
    launcher?.add({ command: COMMAND, category: trans.__('Other'), args: { isLauncher: true } });
  }
};
