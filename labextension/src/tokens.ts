/** What our plug-ins give one another; each is optional to the others. */
import { Token } from '@lumino/coreutils';
import type { ISignal } from '@lumino/signaling';

import type { Model } from './model';
import type { ISettings } from './settings';
import type { IActions, IViewProps } from './views/view';
import type { Words } from './words';

/** The settings, as they are now. */
export interface ICurrentSettings {
  readonly now: ISettings;
  readonly changed: ISignal<unknown, void>;
}

export const ICurrentSettings = new Token<ICurrentSettings>('jupyter_gpupredict:ICurrentSettings');

/** The panel and what it knows. */
export interface IGpuPredict {
  readonly model: Model;
  readonly actions: IActions;
  words(): Words;
  /** What a view is given. */
  props(): IViewProps;
  /** Return what a widget tells whether it can be seen: what nobody sees is not asked for. */
  shown(name: string): (visible: boolean) => void;
  open(): void;
  /** Whether the notebook that is followed is out of sight. */
  hidden(): boolean;
}

export const IGpuPredict = new Token<IGpuPredict>('jupyter_gpupredict:IGpuPredict');
