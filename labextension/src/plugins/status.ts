import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator } from '@jupyterlab/translation';

import { StatusItem } from '../status';
import { ICurrentSettings, IGpuPredict } from '../tokens';

export const status: JupyterFrontEndPlugin<void> = {
  id: 'jupyter_gpupredict:status',
  description: 'The status-bar item: usage and coverage while a run is live.',
  autoStart: true,
  requires: [ITranslator],
  optional: [IGpuPredict, IStatusBar, ICurrentSettings],
  activate: (
    _app: JupyterFrontEnd,
    _translator: ITranslator,
    ours: IGpuPredict | null,
    bar: IStatusBar | null,
    settings: ICurrentSettings | null
  ) => {
    if (!ours || !bar) {
      return;
    }
    const item = new StatusItem(ours.model, () => ours.words(), () => ours.open());
    bar.registerStatusItem(status.id, {
      item,
      align: 'left',
      rank: 900,
      isActive: () => ours.model.live && (settings?.now.showStatusItem ?? true),
      activeStateChanged: ours.model.changed
    });
  }
};
