import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { ITranslator } from '@jupyterlab/translation';

import { icon } from '../icon';
import { LOADER, loads, MAGIC, withMagic } from '../magic';

const COMMAND = 'gpupredict:predict-cell';

/** The button and the entry of the context menu stand in this plug-in's schema. */
export const cellButton: JupyterFrontEndPlugin<void> = {
  id: 'jupyter_gpupredict:cell-button',
  description: 'A button in the cell toolbar that adds the magic to the cell.',
  autoStart: true,
  requires: [ITranslator],
  optional: [INotebookTracker, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    translator: ITranslator,
    notebooks: INotebookTracker | null,
    palette: ICommandPalette | null
  ) => {
    if (!notebooks) {
      return;
    }
    const trans = translator.load('jupyter_gpupredict');
    const isCode = () => notebooks.activeCell?.model.type === 'code';
    app.commands.addCommand(COMMAND, {
      label: trans.__('Predict GPU Usage of This Cell'),
      caption: trans.__('Put %1 on the first line of this cell', MAGIC),
      icon,
      isEnabled: isCode,
      isVisible: isCode,
      execute: () => {
        if (notebooks.currentWidget) {
          addMagic(notebooks.currentWidget);
        }
      }
    });
    notebooks.activeCellChanged.connect(() => app.commands.notifyCommandChanged(COMMAND));
    palette?.addItem({ command: COMMAND, category: trans.__('GPU Predict') });
  }
};

/** Put the magic into the active cell; where nothing loads it, a cell that does comes first. */
function addMagic(panel: NotebookPanel): void {
  const cell = panel.content.activeCell;
  const notebook = panel.content.model?.sharedModel;
  if (!cell || !notebook || cell.model.type !== 'code') {
    return;
  }
  const source = withMagic(cell.model.sharedModel.getSource());
  notebook.transact(() => {
    if (source !== null) {
      cell.model.sharedModel.setSource(source);
    }
    if (!loads(notebook.cells.map(one => one.getSource()))) {
      const index = notebook.cells.findIndex(one => one === cell.model.sharedModel);
      notebook.insertCell(Math.max(0, index), { cell_type: 'code', source: LOADER });
    }
  });
}
