import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { Signal } from '@lumino/signaling';

import { asSettings, DEFAULTS, ISettings } from '../settings';
import { ICurrentSettings } from '../tokens';

class Current implements ICurrentSettings {
  now: ISettings = DEFAULTS;
  readonly changed = new Signal<this, void>(this);

  set(values: Readonly<Record<string, unknown>>): void {
    this.now = asSettings(values);
    this.changed.emit();
  }
}

export const settings: JupyterFrontEndPlugin<ICurrentSettings> = {
  id: 'jupyter_gpupredict:settings',
  description: 'The settings of GPU Predict, applied while they are edited.',
  autoStart: true,
  requires: [ISettingRegistry],
  provides: ICurrentSettings,
  activate: (_app: JupyterFrontEnd, registry: ISettingRegistry) => {
    const current = new Current();
    registry.load(settings.id).then(
      loaded => {
        const take = () => current.set(loaded.composite);
        loaded.changed.connect(take);
        take();
      },
      () => undefined // without a schema the defaults stand
    );
    return current;
  }
};
