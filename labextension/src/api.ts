/** What the server's routes give; docs/server.md describes each. */
import type { IRecommendation, ISessionFinished, ISessionStarted, RunState } from './events';

export type Outcome = 'running' | 'completed' | 'failed' | 'interrupted' | 'stopped' | 'lost';

/** A run in one object. */
export interface ISummary {
  session_id: string;
  kernel_id: string | null;
  host: string;
  pid: number;
  remote: boolean;
  started_at: string;
  source: string;
  origin: string;
  simulated: boolean;
  scope: string;
  metric: string;
  label: string;
  basis: string | null;
  devices: { uuid: string; name: string }[];
  code_hash: string | null;
  outcome: Outcome;
  state: RunState;
  reason: string;
  target_ratio: number | null;
  mean_ratio: number | null;
  coverage_target_ratio: number | null;
  coverage_ratio: number | null;
  memory_peak_bytes: number | null;
  memory_target_bytes: number | null;
  memory_basis: string | null;
  duration_s: number;
  samples: number | null;
  last_time: string;
  size_bytes: number;
  /** What of its trace is damaged; empty: nothing. */
  problem: string;
}

export interface ITarget {
  workload: string;
  sharing: string;
  supported: boolean;
  reason: string;
  expresses: string[];
  /** Whether the backend is meant where none is named. */
  default: boolean;
}

export interface IStatus {
  version: string;
  api: number;
  host: string;
  pid: number;
  nvml: {
    works: boolean;
    reason: string;
    message: string;
    hint: string;
    driver_version: string;
    stuck_threads: number;
  };
  mps: { running: boolean; pipe_directory: string; message: string };
  store: { works: boolean; message: string; stuck: string[] };
  workers_replaced: number;
  targets: ITarget[];
}

export interface IProcess {
  pid: number;
  name: string;
  memory_bytes: number | null;
  mps: boolean;
}

export interface IServerDevice {
  uuid: string;
  name: string;
  index: number;
  utilization_ratio: number | null;
  memory_used_bytes: number | null;
  memory_total_bytes: number | null;
  power_watts: number | null;
  processes: IProcess[] | null;
  mps_clients: number | null;
  reasons: Record<string, string>;
}

export interface IDevices {
  host: string;
  read_at: string | null;
  age_s: number | null;
  reason: string;
  message: string;
  hint: string;
  driver_version: string;
  devices: IServerDevice[];
}

export interface IRuns {
  kernel_id: string;
  host: string;
  cursor: string;
  more: boolean;
  reason: string;
  runs: { run: ISummary; events: unknown[] }[];
  /** In a stream that was asked for them, once a second. */
  devices?: IDevices;
}

export interface ISessions {
  sessions: ISummary[];
  total: number;
  searched: number;
  before: string | null;
}

export interface ISession {
  session: ISummary;
  started: ISessionStarted;
  finished: ISessionFinished | null;
  recommendation: IRecommendation | null;
  others: IRecommendation[];
  stop_requested: boolean;
  /** The share at which this code was run again on this device, and how that went. */
  verified: IVerified | null;
}

export interface IVerified {
  percent: number;
  /** The outcome in words, with its interval. */
  text: string;
}

export interface ISeriesRows {
  metric: string;
  device: string;
  rank: number | null;
  label: string;
  basis: string | null;
  samples: number;
  reason: string;
  times_s: number[];
  low: (number | null)[];
  high: (number | null)[];
}

export interface IPicture {
  session_id: string;
  outcome: Outcome;
  seq: number;
  complete: boolean;
  duration_s: number;
  series: ISeriesRows[];
  marks: unknown[];
}

export interface IWords {
  label: string;
  prediction: string;
  certified: string;
  bounds: string;
  memory: string;
  time_left: string;
  progress: string;
  reason: string;
}

export interface IRecommended {
  session_id: string;
  outcome: Outcome;
  recommendation: IRecommendation | null;
  others: IRecommendation[];
  words: IWords;
}

export interface IExportRequest {
  preview: boolean;
  workload: string;
  sharing?: string;
  name: string;
  output?: string;
  image?: string;
  node_selector?: Record<string, string>;
  force?: boolean;
  overwrite?: boolean;
  /** The notebook's code cells, and its path: the folder then holds the function. */
  cells?: ISentCell[];
  notebook?: string;
  params?: string[];
  /** Who gives what looks like a credential, `env` or `param`; absent: nobody, it is refused. */
  secrets?: string;
  /** Keep what looks like a credential and is still there. */
  allow_secrets?: boolean;
}

/** A code cell as an export takes it. */
export interface ISentCell {
  source: string;
  execution_count: number | null;
  tags: string[];
  failed: boolean;
}

export interface IExported {
  preview: boolean;
  output: string;
  paths: string[];
  texts: Record<string, string>;
  warnings: string[];
}

export interface IDoctor {
  works: boolean;
  lines: { name: string; works: boolean; found: string; fix: string }[];
}

/** What the views may ask of the server. */
export interface IApi {
  status(signal?: AbortSignal): Promise<IStatus>;
  devices(signal?: AbortSignal): Promise<IDevices>;
  runs(kernel: string, since: string, wait_s: number, signal?: AbortSignal): Promise<IRuns>;
  /** Give each answer to `take` as it comes, for so long, or until `take` returns false. */
  follow(
    kernel: string,
    since: string,
    how: { stream_s: number; devices: boolean },
    take: (reply: IRuns) => boolean,
    signal: AbortSignal
  ): Promise<void>;
  stop(kernel: string, run: string): Promise<void>;
  sessions(query: string, before: string | null, limit: number): Promise<ISessions>;
  session(id: string, signal?: AbortSignal): Promise<ISession>;
  picture(id: string, width: number, signal?: AbortSignal): Promise<IPicture>;
  recommendation(id: string): Promise<IRecommended>;
  export(id: string, request: IExportRequest): Promise<IExported>;
  doctor(): Promise<IDoctor>;
}
