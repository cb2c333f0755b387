/** What the server's routes take and give; docs/server.md describes each. */
import schemas from './schema.json';
import type { components } from './schema';

/** Made of the server's OpenAPI document by `make types`. */
export type Schemas = components['schemas'];

/** What is read here of a JSON Schema. */
export interface ISchema {
  $ref?: string;
  anyOf?: ISchema[];
  type?: string;
  const?: unknown;
  default?: unknown;
  items?: ISchema;
  properties?: Record<string, ISchema>;
  description?: string;
  enum?: string[];
  minimum?: number;
  maximum?: number;
  maxLength?: number;
  /** The field without which this one does nothing. */
  'x-with'?: string;
  /** What its number is counted in. */
  'x-unit'?: string;
}

/** The events and what they hold, the options of an export, and those of a recording. */
export const SCHEMAS = schemas as unknown as Readonly<Record<keyof typeof schemas, ISchema>>;

/** A run in one object. */
export type ISummary = Schemas['Summary'];
export type IAnswer = Schemas['Answer'];
export type Outcome = ISummary['outcome'];
export type IStatus = Schemas['Status'];
export type IServerDevice = Schemas['DeviceNow'];
export type IDevices = Schemas['Devices'];
export type IRuns = Schemas['Runs'];
export type ISessions = Schemas['Sessions'];
export type ISession = Schemas['Session'];
export type IPicture = Schemas['Drawing'];
/** What is left out has the server's default. */
export type IExportRequest = Partial<Schemas['ExportRequest']>;
/** A code cell as an export takes it. */
export type ISentCell = Schemas['Cell'];
export type IExported = Schemas['Exported'];
export type IDoctor = Schemas['Doctor'];
/** What a recording does not say itself. */
export type IReadOptions = Partial<Schemas['ReadOptions']>;
/** A recording: a file below the server's root, or one that is sent. */
export type Source = { path: string } | { file: File };

/** What can be taken away of a run, below its route. */
export type RunFile = 'readings.csv' | 'chart/png' | 'chart/svg';

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
  sessions(query: string, before: string | null, limit: number, order?: string, word?: string): Promise<ISessions>;
  session(id: string, signal?: AbortSignal): Promise<ISession>;
  picture(id: string, width: number, signal?: AbortSignal): Promise<IPicture>;
  /** Name, note or pin a run; what is left out stays. */
  label(id: string, part: Schemas['LabelRequest']): Promise<ISummary>;
  /** Move a run to the trash, which keeps it for a week. */
  discard(id: string): Promise<unknown>;
  restore(id: string): Promise<ISummary>;
  /** A file made of a run: its readings, or its chart. */
  file(id: string, form: RunFile): Promise<Blob>;
  export(id: string, request: IExportRequest): Promise<IExported>;
  /** Have a recording read, and kept as a run of each device. */
  keep(source: Source, options: IReadOptions): Promise<Schemas['Kept']>;
  doctor(): Promise<IDoctor>;
}
