import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ITranslator } from '@jupyterlab/translation';

import { icon } from '../icon';
import { IGpuPredict } from '../tokens';

export const commands: JupyterFrontEndPlugin<void> = {
  id: 'jupyter_gpupredict:commands',
  description: 'The entries of the command palette.',
  autoStart: true,
  requires: [ITranslator],
  optional: [IGpuPredict, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    translator: ITranslator,
    ours: IGpuPredict | null,
    palette: ICommandPalette | null
  ) => {
    if (!ours) {
      return;
    }
    const trans = translator.load('jupyter_gpupredict');
    const { model, actions } = ours;
    const over = () => model.newest !== null && !model.live;
    app.commands.addCommand('gpupredict:show-panel', {
      label: trans.__('Show Panel'),
      caption: trans.__('Devices, this notebook’s measured cells, history'),
      icon,
      execute: () => ours.open()
    });
    app.commands.addCommand('gpupredict:stop', {
      label: trans.__('Stop Measuring'),
      caption: trans.__('Ends the measuring of the current notebook’s run; the cell runs on'),
      isEnabled: () => model.live,
      execute: () => model.newest && actions.stop(model.newest.session_id)
    });
    app.commands.addCommand('gpupredict:export', {
      label: trans.__('Export the Newest Run…'),
      caption: trans.__('The function folder and its manifest, from the current notebook’s newest run'),
      isEnabled: over,
      execute: () => model.newest && actions.openExport(model.newest.session_id)
    });
    model.changed.connect(() => {
      const enabled = `${model.live} ${over()}`;
      if (enabled !== before) {
        before = enabled;
        app.commands.notifyCommandChanged('gpupredict:stop');
        app.commands.notifyCommandChanged('gpupredict:export');
      }
    });
    let before = '';
    const category = trans.__('GPU Predict');
    for (const command of ['gpupredict:show-panel', 'gpupredict:stop', 'gpupredict:export']) {
      palette?.addItem({ command, category });
    }
  }
};
