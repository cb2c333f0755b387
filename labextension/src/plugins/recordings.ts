import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { ITranslator } from '@jupyterlab/translation';

import { icon } from '../icon';
import { IGpuPredict } from '../tokens';

const COMMAND = 'gpupredict:predict-recording';

/** The entry of the file browser's context menu stands in this plug-in's schema. */
export const recordings: JupyterFrontEndPlugin<void> = {
  id: 'jupyter_gpupredict:recordings',
  description: 'An entry of the file browser that predicts from a recording.',
  autoStart: true,
  requires: [ITranslator],
  optional: [IGpuPredict, IFileBrowserFactory, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    translator: ITranslator,
    ours: IGpuPredict | null,
    browsers: IFileBrowserFactory | null,
    palette: ICommandPalette | null
  ) => {
    if (!ours) {
      return;
    }
    const trans = translator.load('jupyter_gpupredict');
    app.commands.addCommand(COMMAND, {
      label: trans.__('Predict from recording…'),
      caption: trans.__('What a log of a GPU, or a profile of its kernels, says of the need'),
      icon,
      execute: args => {
        const items = browsers?.tracker.currentWidget?.selectedItems();
        const path = args.selected === true ? items?.next().value?.path : undefined;
        if (path === undefined) {
          ours.model.setRecording({ name: '', at: 'asked' });
        } else {
          ours.actions.predictFrom({ path: app.serviceManager.contents.localPath(path) }, {});
        }
        ours.open();
      }
    });
    palette?.addItem({ command: COMMAND, category: trans.__('GPU Predict') });
  }
};
