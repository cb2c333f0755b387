/** The words for figures, as the package's `frontends/words.py` has them: every view says the same. */
import type { TranslationBundle } from '@jupyterlab/translation';

import type { IMemoryEstimate, IRecommendation, ISessionStarted, RunState } from './events';

export type MemoryUnit = 'auto' | 'MiB' | 'GiB';

/** A shape beside each state's word, so that colour is never all there is. */
export const STATE_SIGNS: Readonly<Record<RunState, string>> = {
  warming: '○',
  watching: '◔',
  converged: '●',
  stale: '▲',
  abstained: '◇'
};

/** What there is to say, in the user's language. */
export class Words {
  constructor(
    readonly trans: TranslationBundle,
    readonly unit: MemoryUnit = 'auto'
  ) {}

  /** A state's own word. */
  state(state: RunState): string {
    const trans = this.trans;
    const words: Record<RunState, string> = {
      warming: trans.__('warming'),
      watching: trans.__('watching'),
      converged: trans.__('converged'),
      stale: trans.__('stale'),
      abstained: trans.__('abstained')
    };
    return words[state] ?? state;
  }

  /** How a run ended. */
  outcome(outcome: string): string {
    const trans = this.trans;
    const words: Record<string, string> = {
      completed: trans.__('completed'),
      failed: trans.__('the cell failed'),
      interrupted: trans.__('interrupted'),
      stopped: trans.__('measuring stopped'),
      running: trans.__('running'),
      lost: trans.__('lost: the kernel died')
    };
    return words[outcome] ?? outcome;
  }

  /** A metric's name for people. */
  metric(name: string): string {
    const trans = this.trans;
    const words: Record<string, string> = {
      gpu_util_ratio: trans.__('busy time (time share)'),
      gr_active_ratio: trans.__('engine busy time (time share)'),
      sm_active_ratio: trans.__('SM activity'),
      breadth_ratio: trans.__('SM share while busy'),
      cpu_util_ratio: trans.__('CPU time share'),
      mem_util_ratio: trans.__('memory controller busy time'),
      memory_used_bytes: trans.__('device memory'),
      process_memory_used_bytes: trans.__('device memory of this process tree'),
      process_util_ratio: trans.__('busy time of this process tree (time share)'),
      own_process_count: trans.__('compute processes of this process tree'),
      other_process_count: trans.__('compute processes of others'),
      throttle_bits: trans.__('why the clocks are held down'),
      rss_bytes: trans.__('resident memory'),
      power_watts: trans.__('power')
    };
    return words[name] ?? name;
  }

  /** What a manifest can carry, for people. */
  limit(name: string): string {
    const trans = this.trans;
    const words: Record<string, string> = {
      sm_pct: trans.__('a share of the SMs'),
      time_pct: trans.__('a share of the time'),
      memory_mib: trans.__('a memory limit'),
      timeout_s: trans.__('a time limit')
    };
    return words[name] ?? name;
  }

  /** Why a value is missing. */
  reason(code: string): string {
    const trans = this.trans;
    const words: Record<string, string> = {
      not_supported: trans.__('this device does not offer it'),
      no_permission: trans.__('no permission to read it'),
      no_device: trans.__('no GPU was found'),
      no_driver: trans.__('the NVIDIA driver is not loaded'),
      version_mismatch: trans.__('driver and library are of different versions'),
      wrong_pynvml: trans.__('another package named pynvml shadows nvidia-ml-py'),
      device_lost: trans.__('the GPU is lost'),
      mig: trans.__('not available on a MIG instance'),
      under_mps: trans.__('not available under MPS'),
      no_data_yet: trans.__('no reading yet'),
      timed_out: trans.__('the driver did not answer in time'),
      not_recorded: trans.__('not recorded')
    };
    return words[code] ?? code.replace(/_/g, ' ');
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

  /** What the readings are, above all when they are not a GPU's. */
  label(started: ISessionStarted): string {
    const trans = this.trans;
    if (started.source === 'replay') {
      return trans.__('SIMULATED: replay of a recording (%1)', started.origin);
    }
    if (started.simulated) {
      return trans.__('SIMULATED: synthetic readings (%1)', started.origin);
    }
    const device = started.devices.map(one => one.name).join(', ');
    return started.source === 'cpu'
      ? trans.__('CPU of this process tree, no GPU (%1)', device)
      : trans.__('%1, read by %2', device, started.source);
  }

  /** The prediction as one sentence. */
  prediction(told: IRecommendation): string {
    const trans = this.trans;
    const metric = this.metric(told.metric);
    const coverage = this.percent(told.coverage_target_ratio);
    const target = this.percent(told.target_ratio);
    if (told.capped) {
      return trans.__('no prediction: the run was capped by MPS');
    }
    if (told.state === 'converged') {
      return trans.__('%1 %2 covers %3 of the time (converged)', target, metric, coverage);
    }
    if (told.state === 'stale') {
      return trans.__('no %1 can be stated: the prediction was withdrawn, nothing is capped', metric);
    }
    if (told.target_ratio === null) {
      return trans.__('no %1 seen yet', metric);
    }
    if (told.state === 'abstained') {
      return trans.__('observed, not predicted: %1 %2 covered %3 of the time', target, metric, coverage);
    }
    return trans.__('so far %1 %2 covers %3 of the time (not settled)', target, metric, coverage);
  }

  /** What a device of several is called: by its rank, its number, or the end of its id. */
  device(one: { device: string; rank?: number | null }, started: ISessionStarted): string {
    if (typeof one.rank === 'number') {
      return this.trans.__('rank %1', one.rank);
    }
    const index = started.devices.find(({ uuid }) => uuid === one.device)?.index;
    return this.trans.__('GPU %1', index ?? one.device.slice(-8));
  }

  /** A prediction beside the main one, with its rank or device where that is another. */
  beside(told: IRecommendation, started: ISessionStarted): string {
    const said = told.lost
      ? this.trans.__('%1; lost: its figures end there', this.prediction(told))
      : this.prediction(told);
    const same = !told.device || told.device === started.share.device;
    if (typeof told.rank !== 'number' && same) {
      return said;
    }
    return this.trans.__('%1: %2', this.device(told, started), said);
  }

  /** What is certified of the watched part. */
  certified(told: IRecommendation): string {
    const trans = this.trans;
    const found = told.confidence;
    if (found === null) {
      return trans.__('not available: nothing has converged');
    }
    const count = String(even(found.n_eff));
    if (found.certified_ratio === null) {
      return trans.__('too few independent seconds to certify anything (n_eff %1)', count);
    }
    return trans.__(
      'at least %1 of the time of what was watched, with %2 confidence (n_eff %3)',
      this.percent(found.certified_ratio),
      this.percent(found.level),
      count
    );
  }

  /** Where the covering usage of the watched part lies; empty where nothing converged. */
  bounds(told: IRecommendation): string {
    const trans = this.trans;
    const found = told.confidence;
    if (found === null) {
      return '';
    }
    const covers = trans.__('%1 of the time', this.percent(told.coverage_target_ratio));
    const level = trans.__('with %1 confidence each', this.percent(found.level));
    const low = this.percent(found.lower_ratio);
    const high = this.percent(found.upper_ratio);
    if (found.lower_ratio === null && found.upper_ratio === null) {
      return trans.__('too few independent seconds to bound what covers %1', covers);
    }
    if (found.upper_ratio === null && found.lower_ratio !== null && found.lower_ratio >= 1) {
      return trans.__('the whole device for %1 (%2)', covers, level);
    }
    if (found.upper_ratio === null) {
      return trans.__('at least %1 for %2, not bounded from above yet (%3)', low, covers, level);
    }
    if (found.lower_ratio === null) {
      return trans.__('at most %1 for %2 (%3)', high, covers, level);
    }
    return trans.__('%1 to %2 for %3 (%4)', low, high, covers, level);
  }

  /** The predicted rest and whole of the run; empty when nothing is known, or left. */
  timeLeft(told: IRecommendation): string {
    const trans = this.trans;
    if (told.remaining_s === null || told.total_s === null || told.remaining_s < 0.5) {
      return '';
    }
    const [low, high] = [this.span(told.remaining_low_s), this.span(told.remaining_high_s)];
    const known = told.remaining_low_s !== null && told.remaining_high_s !== null;
    const between = known && low !== high ? ` (${trans.__('%1 to %2', low, high)})` : '';
    return trans.__(
      'about %1 left%2, %3 in all',
      this.span(told.remaining_s),
      between,
      this.span(told.total_s)
    );
  }

  /** The memory figure with what it rests on. */
  memory(estimate: IMemoryEstimate | null): string {
    const trans = this.trans;
    if (estimate === null) {
      return trans.__('not available: the source gives no memory reading');
    }
    const words: Record<string, string> = {
      process: trans.__('this process tree, CUDA context included'),
      'device-wide': trans.__('device-wide: other processes are in it'),
      rss: trans.__('host memory of this process tree, not GPU memory')
    };
    const basis = words[estimate.basis] ?? estimate.basis;
    if (estimate.target_bytes !== null) {
      return `${this.size(estimate.target_bytes)} (${estimate.reason}; ${basis})`;
    }
    if (estimate.peak_bytes === null) {
      return trans.__('not available: %1', estimate.reason);
    }
    return trans.__(
      'peak %1, no target yet: %2; %3',
      this.size(estimate.peak_bytes),
      estimate.reason,
      basis
    );
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
