/** The words for figures, as the package's `core/words.py` has them: every view says the same. */
import type { TranslationBundle } from '@jupyterlab/translation';

import type { ISessionStarted } from './events';
import schemas from './schema.json';

const LABELS: Readonly<Record<string, string>> = schemas.Metric['x-labels'];
const REASONS: Readonly<Record<string, string>> = schemas.Reason['x-labels'];

export type MemoryUnit = 'auto' | 'MiB' | 'GiB';

/** What there is to say, in the user's language. */
export class Words {
  constructor(
    readonly trans: TranslationBundle,
    readonly unit: MemoryUnit = 'auto'
  ) {}

  /** A metric's name for people, as Python's table of metrics has it. */
  metric(name: string): string {
    return this.trans.__(LABELS[name] ?? name);
  }

  /** Why a value is missing, as Python's table of reasons has it. */
  reason(code: string): string {
    return this.trans.__(REASONS[code] ?? code.replace(/_/g, ' '));
  }

  /** What helps against a reason; empty when nothing is known to. */
  help(code: string): string {
    const trans = this.trans;
    const words: Record<string, string> = {
      no_permission: trans.__('Ask the administrator of this machine for access to the device.'),
      no_device: trans.__(
        'Runs are measured on the CPU of the kernel instead. Start Jupyter on a machine with an NVIDIA GPU to see it here.'
      ),
      no_driver: trans.__(
        'Runs are measured on the CPU of the kernel instead. Install or load the NVIDIA driver, then press Retry.'
      ),
      version_mismatch: trans.__('Reboot, or reload the driver, after its update.'),
      wrong_pynvml: trans.__('Run: pip uninstall pynvml; pip install --force-reinstall nvidia-ml-py'),
      device_lost: trans.__('Look at nvidia-smi; the device may need a reset or the machine a reboot.'),
      timed_out: trans.__('The machine may be busy; it is asked again.')
    };
    return words[code] ?? '';
  }

  /** A ratio as whole percent; `-` when there is none. */
  percent(ratio: number | null | undefined): string {
    return ratio === null || ratio === undefined || Number.isNaN(ratio)
      ? '-'
      : `${even(100 * ratio)} %`;
  }

  /** Bytes in MiB or GiB. */
  size(bytes: number | null | undefined): string {
    if (bytes === null || bytes === undefined || Number.isNaN(bytes)) {
      return '-';
    }
    const mib = bytes / 2 ** 20;
    const large = this.unit === 'auto' ? mib >= 10_240 : this.unit === 'GiB';
    return large ? `${(mib / 1024).toFixed(1)} GiB` : `${even(mib)} MiB`;
  }

  /** A time span, such as `1 h 05 min` or `12 s`. */
  span(seconds: number | null | undefined): string {
    if (seconds === null || seconds === undefined || Number.isNaN(seconds)) {
      return '-';
    }
    if (seconds < 90) {
      return `${even(seconds)} s`;
    }
    const minutes = even(seconds / 60);
    return minutes < 90
      ? `${minutes} min`
      : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
  }

  /** What a device of several is called: by its rank, its number, or the end of its id. */
  device(one: { device: string; rank?: number | null }, started: ISessionStarted): string {
    if (typeof one.rank === 'number') {
      return this.trans.__('rank %1', one.rank);
    }
    const index = started.devices.find(({ uuid }) => uuid === one.device)?.index;
    return this.trans.__('GPU %1', index ?? one.device.slice(-8));
  }
}

/** Round as Python does: halves go to the even neighbour. */
function even(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) {
    return Math.round(value);
  }
  return floor % 2 === 0 ? floor : floor + 1;
}
