import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Notification } from '@jupyterlab/apputils';
import { ITranslator } from '@jupyterlab/translation';

import { newWord } from '../news';
import { ICurrentSettings, IGpuPredict } from '../tokens';

export const notifications: JupyterFrontEndPlugin<void> = {
  id: 'jupyter_gpupredict:notifications',
  description: 'A notification when a run settles or changes while its notebook is out of sight.',
  autoStart: true,
  requires: [ITranslator],
  optional: [IGpuPredict, ICurrentSettings],
  activate: (
    _app: JupyterFrontEnd,
    translator: ITranslator,
    ours: IGpuPredict | null,
    settings: ICurrentSettings | null
  ) => {
    if (!ours) {
      return;
    }
    const label = translator.load('jupyter_gpupredict').__('Show');
    const isNew = newWord();
    ours.model.changed.connect(() => {
      const answer = ours.model.run?.answer;
      if (answer && isNew(answer) && ours.hidden() && (settings?.now.notify ?? true)) {
        Notification.emit(`${answer.word}: ${answer.headline}`, answer.word === 'settled' ? 'success' : 'warning', {
          autoClose: false,
          actions: [{ label, callback: () => ours.open() }]
        });
      }
    });
  }
};
