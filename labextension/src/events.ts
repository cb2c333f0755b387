/**
 * The events of a run: one JSON object each, in the form of a trace file's lines.
 *
 * They mirror the package's `core/events.py`; tests/data/events holds one of each kind, written by
 * Python and read by the tests here, so that neither side can change alone. NaN travels as null.
 */

/** The form that this code reads; a trace of another one is refused. */
export const SCHEMA = 1;

export type RunState = 'warming' | 'watching' | 'converged' | 'stale' | 'abstained';

export interface ISeries {
  metric: string;
  device: string;
  rank: number | null;
}

export interface IDevice {
  uuid: string;
  name: string;
  index: number | null;
  memory_total_bytes: number | null;
  sm_count: number | null;
  cpu_count: number | null;
  assumed: boolean;
}

export interface IReadings {
  series: ISeries;
  times_s: number[];
  values: (number | null)[];
}

export interface IConfidence {
  n_eff: number;
  g_s: number;
  certified_ratio: number | null;
  required_ratio: number;
  level: number;
  lower_ratio: number | null;
  upper_ratio: number | null;
}

export interface IMemoryEstimate {
  peak_bytes: number | null;
  target_bytes: number | null;
  basis: string;
  reason: string;
  preallocated: boolean;
}

export interface IAllocatorPeak {
  framework: string;
  allocated_bytes: number;
  reserved_bytes: number;
}

export interface IRecommendation {
  state: RunState;
  reason: string;
  metric: string;
  basis: string;
  coverage_target_ratio: number;
  target_ratio: number | null;
  mean_ratio: number | null;
  coverage_ratio: number | null;
  watched_s: number;
  converged_at_s: number | null;
  memory: IMemoryEstimate | null;
  confidence: IConfidence | null;
  sampled_ratio: number | null;
  remaining_s: number | null;
  remaining_low_s: number | null;
  remaining_high_s: number | null;
  total_s: number | null;
  total_high_s: number | null;
  progress: string;
  /** Whose share this is; empty: a distributed run's function. */
  device: string;
  /** Of an SM share: run time under it over run time on all SMs, low and high. */
  slowdown: [number, number] | null;
  /** MPS gave the run less than all SMs; absent in older traces. */
  capped?: boolean;
  /** Of a distributed run: the rank of that device's process, and whether it is lost. */
  rank?: number | null;
  lost?: boolean;
}

/** How a run stands to MPS; limits that were not applied are null. */
export interface IAppliedShare {
  active: boolean;
  percentage: number | null;
  memory_limit_bytes: number | null;
  pipe_directory: string;
  joined: boolean;
  attached: boolean | null;
  sm_count: number | null;
  device_sm_count: number | null;
  reason: string;
}

interface IEvent<K extends string> {
  event: K;
  /** Gap-free from 0. */
  seq: number;
  /** Seconds since the session began. */
  t_s: number;
}

export interface ISessionStarted extends IEvent<'SessionStarted'> {
  session_id: string;
  started_at: string;
  source: string;
  simulated: boolean;
  share: ISeries;
  memory: ISeries | null;
  period_s: number;
  devices: IDevice[];
  series: ISeries[];
  config: Record<string, string | number | boolean | null>;
  versions: Record<string, string>;
  notes: string[];
  scope: string;
  origin: string;
  buffer_s: number | null;
  kernel_id: string | null;
  host: string;
  hosts: number;
  pid: number;
  code_hash: string | null;
  last_time: string;
  environment: string;
  schema: number;
}

export interface IShareApplied extends IEvent<'ShareApplied'> {
  share: IAppliedShare;
}

export interface ISamplesTaken extends IEvent<'SamplesTaken'> {
  readings: IReadings[];
}

export interface IWindowClosed extends IEvent<'WindowClosed'> {
  from_s: number;
  to_s: number;
  fill_ratio: number;
  covering_ratio: number | null;
  mean_ratio: number | null;
  void: boolean;
}

export interface IMetricUnavailable extends IEvent<'MetricUnavailable'> {
  series: ISeries;
  reason: string;
  detail: string;
}

export interface IGapObserved extends IEvent<'GapObserved'> {
  from_s: number;
  to_s: number;
  cause: string;
}

export interface ISourceLost extends IEvent<'SourceLost'> {
  source: string;
  reason: string;
  detail: string;
}

export interface ISourceRecovered extends IEvent<'SourceRecovered'> {
  source: string;
  outage_s: number;
}

export interface IProgressMade extends IEvent<'ProgressMade'> {
  unit: string;
  done: number;
  total: number | null;
  hint: string;
}

export interface IPhaseEntered extends IEvent<'PhaseEntered'> {
  name: string;
  hint: string;
}

export interface IRecommendationUpdated extends IEvent<'RecommendationUpdated'> {
  recommendation: IRecommendation;
  /** Further shares, such as a time share beside an SM share. */
  others: IRecommendation[];
}

export interface IStateChanged extends IEvent<'StateChanged'> {
  old: string;
  new: string;
  reason: string;
}

export interface ISubscriberDetached extends IEvent<'SubscriberDetached'> {
  name: string;
  error: string;
}

export interface ISessionFinished extends IEvent<'SessionFinished'> {
  outcome: string;
  recommendation: IRecommendation | null;
  samples: number;
  duration_s: number;
  overhead_s: number;
  errors: string[];
  profile: object | null;
  others: IRecommendation[];
  allocator: IAllocatorPeak | null;
  /** What of several devices was lost and not found again. */
  partial: string[];
  /** Device -> most compute processes of the run's own on it at one time. */
  own_processes: Record<string, number>;
  /** Devices that came while the run went on, and hosts that all were on. */
  joined: IDevice[];
  hosts: number;
}

export type RunEvent =
  | ISessionStarted
  | IShareApplied
  | ISamplesTaken
  | IWindowClosed
  | IMetricUnavailable
  | IGapObserved
  | ISourceLost
  | ISourceRecovered
  | IProgressMade
  | IPhaseEntered
  | IRecommendationUpdated
  | IStateChanged
  | ISubscriberDetached
  | ISessionFinished;

export type EventName = RunEvent['event'];
type Of<K extends EventName> = Extract<RunEvent, { event: K }>;

/** What a field may hold; a question mark also allows null. */
type Kind = 'number' | 'number?' | 'string' | 'string?' | 'boolean' | 'list' | 'object' | 'object?';

/** The fields of each event: the compiler holds this list equal to the types above. */
export const FIELDS: {
  readonly [K in EventName]: { readonly [F in Exclude<keyof Of<K>, 'event' | 'seq' | 't_s'>]: Kind };
} = {
  SessionStarted: {
    session_id: 'string',
    started_at: 'string',
    source: 'string',
    simulated: 'boolean',
    share: 'object',
    memory: 'object?',
    period_s: 'number',
    devices: 'list',
    series: 'list',
    config: 'object',
    versions: 'object',
    notes: 'list',
    scope: 'string',
    origin: 'string',
    buffer_s: 'number?',
    kernel_id: 'string?',
    host: 'string',
    hosts: 'number',
    pid: 'number',
    code_hash: 'string?',
    last_time: 'string',
    environment: 'string',
    schema: 'number'
  },
  ShareApplied: { share: 'object' },
  SamplesTaken: { readings: 'list' },
  WindowClosed: {
    from_s: 'number',
    to_s: 'number',
    fill_ratio: 'number',
    covering_ratio: 'number?',
    mean_ratio: 'number?',
    void: 'boolean'
  },
  MetricUnavailable: { series: 'object', reason: 'string', detail: 'string' },
  GapObserved: { from_s: 'number', to_s: 'number', cause: 'string' },
  SourceLost: { source: 'string', reason: 'string', detail: 'string' },
  SourceRecovered: { source: 'string', outage_s: 'number' },
  ProgressMade: { unit: 'string', done: 'number', total: 'number?', hint: 'string' },
  PhaseEntered: { name: 'string', hint: 'string' },
  RecommendationUpdated: { recommendation: 'object', others: 'list' },
  StateChanged: { old: 'string', new: 'string', reason: 'string' },
  SubscriberDetached: { name: 'string', error: 'string' },
  SessionFinished: {
    outcome: 'string',
    recommendation: 'object?',
    samples: 'number',
    duration_s: 'number',
    overhead_s: 'number',
    errors: 'list',
    profile: 'object?',
    others: 'list',
    allocator: 'object?',
    partial: 'list',
    own_processes: 'object',
    joined: 'list',
    hosts: 'number'
  }
};

/** Fields that older traces of this schema lack, with what stands in for them. */
const DEFAULTS: Readonly<Record<string, unknown>> = {
  notes: [],
  scope: 'device',
  origin: '',
  buffer_s: null,
  kernel_id: null,
  host: '',
  hosts: 1,
  pid: 0,
  code_hash: null,
  last_time: '',
  environment: '',
  detail: '',
  errors: [],
  profile: null,
  others: [],
  allocator: null,
  partial: [],
  own_processes: {},
  joined: []
};

/**
 * Return the event that a parsed object holds; null when it is none that this code reads.
 *
 * Unknown fields are kept and ignored, as newer writers may add some.
 */
export function asEvent(value: unknown): RunEvent | null {
  if (!isRecord(value) || typeof value.event !== 'string' || !Object.hasOwn(FIELDS, value.event)) {
    return null;
  }
  if (typeof value.seq !== 'number' || typeof value.t_s !== 'number') {
    return null;
  }
  if (value.event === 'SessionStarted' && value.schema !== SCHEMA) {
    return null;
  }
  const fields: Readonly<Record<string, Kind>> = FIELDS[value.event as EventName];
  const event: Record<string, unknown> = { ...value };
  for (const [name, kind] of Object.entries(fields)) {
    if (!(name in event) && name in DEFAULTS) {
      event[name] = DEFAULTS[name];
    }
    if (!fits(event[name], kind)) {
      return null;
    }
  }
  return event as unknown as RunEvent;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function fits(value: unknown, kind: Kind): boolean {
  if (kind.endsWith('?') && value === null) {
    return true;
  }
  switch (kind.replace('?', '')) {
    case 'list':
      return Array.isArray(value);
    case 'object':
      return isRecord(value);
    default:
      return typeof value === kind.replace('?', '');
  }
}
