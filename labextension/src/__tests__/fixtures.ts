/** What the tests share: the events that Python wrote, a stand-in for the server, and a language. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

import type { TranslationBundle } from '@jupyterlab/translation';

import type { IAnswer, IApi, IDevices, IPicture, IRuns, ISession, IStatus, ISummary } from '../api';
import { asEvent, ISessionFinished, ISessionStarted, RunEvent } from '../events';
import { DEFAULTS } from '../settings';
import type { IViewProps } from '../views/view';
import { Model } from '../model';
import { Words } from '../words';

const FOLDER = resolve(__dirname, '../../../tests/data/events');

export function text(name: string): string {
  return readFileSync(resolve(FOLDER, name), 'utf8');
}

export function lines(): unknown[] {
  return text('every-kind.jsonl')
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as unknown);
}

export function everyKind(): RunEvent[] {
  return lines().map(line => asEvent(line) as RunEvent);
}

function fill(words: string, values: readonly string[]): string {
  return words
    .replace(/%%/g, '%% ') // as JupyterLab does it
    .replace(/%(\d+)/g, (_, index: string) => values[Number(index) - 1] ?? '')
    .replace(/%% /g, '%');
}

/** English, as written in the source. */
export const trans = {
  __: (words: string, ...values: string[]) => fill(words, values),
  _n: (one: string, many: string, count: number, ...values: string[]) =>
    fill(count === 1 ? one : many, [String(count), ...values]) // the number is %1, as in JupyterLab
} as unknown as TranslationBundle;

export const words = new Words(trans);
export const KERNEL = '11111111-2222-3333-4444-555555555555';
export const RUN = '20250102T030405Z-host-4242-a1b2';

/** Of a run that is over, and of one that is still measured. */
export function answers(): IAnswer[] {
  return JSON.parse(text('answers.json')) as IAnswer[];
}

export function summary(changed: Partial<ISummary> = {}): ISummary {
  return {
    session_id: RUN,
    kernel_id: KERNEL,
    host: 'host',
    pid: 4242,
    remote: false,
    started_at: '2025-01-02T03:04:05+00:00',
    source: 'nvml',
    origin: '',
    simulated: false,
    scope: 'device',
    metric: 'gpu_util_ratio',
    label: 'busy time (time share)',
    basis: 'time_share',
    devices: [{ uuid: 'GPU-11111111-2222-3333-4444-555555555555', name: 'NVIDIA H200' }],
    code_hash: '0'.repeat(64),
    outcome: 'running',
    state: 'watching',
    reason: '',
    target_ratio: 0.43,
    mean_ratio: 0.31,
    coverage_target_ratio: 0.95,
    coverage_ratio: 0.98,
    memory_peak_bytes: 2 ** 30,
    memory_target_bytes: null,
    memory_basis: 'process',
    duration_s: 12,
    samples: null,
    last_time: '',
    size_bytes: 1000,
    problem: '',
    notebook: 'work/train.ipynb',
    cell_id: 'a1b2c3d4',
    first_line: 'train(model, epochs=10)',
    headline: 'Busy 43 % of the time, at least 1.0 GiB so far',
    word: 'settling',
    sign: '◐',
    tone: 'wait',
    device: 'H200',
    name: '',
    note: '',
    pinned: false,
    ...changed
  };
}

export function runs(events: unknown[], changed: Partial<IRuns> = {}, run = summary()): IRuns {
  return {
    kernel_id: KERNEL,
    host: 'host',
    cursor: `${run.session_id}:0`,
    more: false,
    reason: '',
    runs: [{ run, events: events as RunEvent[], answer: null }], // as they come, whatever they are
    ...changed
  };
}

export function session(changed: Partial<ISession> = {}): ISession {
  const events = everyKind();
  return {
    session: summary(),
    started: events[0] as ISessionStarted,
    finished: null,
    recommendation: null,
    others: [],
    verified: null,
    answer: answers()[0]!,
    stop_requested: false,
    ...changed
  };
}

export function finished(): ISessionFinished {
  return everyKind().at(-1) as ISessionFinished;
}

export function picture(changed: Partial<IPicture> = {}): IPicture {
  return {
    session_id: RUN,
    outcome: 'running',
    seq: 8,
    complete: true,
    duration_s: 60,
    series: [
      {
        metric: 'gpu_util_ratio',
        device: 'GPU-11111111-2222-3333-4444-555555555555',
        rank: null,
        label: 'busy time (time share)',
        basis: 'time_share',
        samples: 600,
        reason: '',
        times_s: [20, 40, 60],
        low: [0.1, 0.2, null],
        high: [0.3, 0.4, null]
      }
    ],
    marks: lines().slice(2, 9) as RunEvent[],
    ...changed
  };
}

export function devices(changed: Partial<IDevices> = {}): IDevices {
  return {
    host: 'host',
    read_at: '2025-01-02T03:04:05+00:00',
    age_s: 0.2,
    reason: '',
    message: '',
    hint: '',
    driver_version: '550.1',
    devices: [
      {
        uuid: 'GPU-1',
        name: 'NVIDIA H200',
        index: 0,
        utilization_ratio: 0.82,
        memory_used_bytes: 3 * 2 ** 30,
        memory_total_bytes: 140 * 2 ** 30,
        power_watts: null,
        processes: [{ pid: 4242, name: 'python3', memory_bytes: 2 ** 30, mps: true }],
        mps_clients: 1,
        reasons: { power_watts: 'not_supported' }
      }
    ],
    ...changed
  };
}

export function status(): IStatus {
  const line = { runs: 'a job', divides: 'a daemon' };
  const target = { supported: true, reason: '', expresses: ['sm_pct'], default: false, ...line };
  return {
    version: '0.1.0',
    api: 1,
    host: 'host',
    pid: 1,
    nvml: {
      works: true,
      reason: '',
      message: '',
      hint: '',
      driver_version: '550.1',
      stuck_threads: 0
    },
    mps: { running: false, pipe_directory: '', message: 'no control daemon is there' },
    store: { works: true, message: '', stuck: [] },
    workers_replaced: 0,
    targets: [
      { workload: 'job', sharing: 'mps', ...target, default: true },
      { workload: 'job', sharing: 'none', ...target },
      { workload: 'local', sharing: 'mps', ...target, supported: false, reason: 'no cluster there' }
    ]
  };
}

const never = () => new Promise<never>(() => undefined);

/** A server that answers what it is told to, and nothing else. */
export function api(answers: Partial<IApi> = {}): IApi {
  return {
    status: async () => status(),
    devices: async () => devices(),
    runs: never,
    follow: never,
    stop: async () => undefined,
    sessions: never,
    session: async () => session(),
    picture: async () => picture(),
    label: never,
    discard: never,
    restore: never,
    file: never,
    export: never,
    keep: never,
    doctor: never,
    ...answers
  };
}

export function props(changed: Partial<IViewProps> = {}): IViewProps {
  const nothing = () => undefined;
  return {
    api: api(),
    model: new Model(),
    words,
    settings: DEFAULTS,
    actions: {
      ...{ retry: nothing, stop: nothing, openExport: nothing, notify: nothing, copy: nothing },
      ...{ offer: nothing, goTo: nothing, predictFrom: nothing }
    },
    ...changed
  };
}
