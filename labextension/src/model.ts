/** What the panel knows: no DOM, one signal. */
import { ISignal, Signal } from '@lumino/signaling';

import type { IDevices, IPicture, IRuns, ISession, IStatus, ISummary, Source } from './api';
import { asEvent } from './events';
import { asFrame, Heard } from './frames';
import type { Place } from './kernels';
import { Run } from './run';
import { TransportError } from './transport';

/** How the server answers. */
export type Link =
  | { kind: 'loading' }
  | { kind: 'connected' }
  | { kind: 'missing' }
  | { kind: 'forbidden' }
  | { kind: 'disconnected'; retry_at: number; message: string };

/** What is asked for, each by a question of its own. */
export type Topic = 'devices' | 'runs';

/** Where the reading of a recording has come; `asked`: the user is to choose one. */
export type Recording = { name: string; source?: Source } & (
  | { at: 'asked' }
  | { at: 'reading' }
  | { at: 'failed'; message: string; hint: string }
  | { at: 'kept'; runs: readonly ISummary[] }
);

const MAX_RUNS = 20;
/** One failure may be a hiccup; the second in a row is told. */
const TOLERATED = 1;

/** The state; those who show it listen to `changed`. */
export class Model {
  place: Place = { kind: 'nowhere' };
  status: IStatus | null = null;
  devices: IDevices | null = null;
  /** Runs of the current kernel, newest first. */
  runs: ISummary[] = [];
  /** The newest of them, drawn. */
  run: Run | null = null;
  /** Whether the current kernel's runs have been asked for and told. */
  known = false;
  /** Why the current kernel has no runs, in the server's words. */
  noRuns = '';
  /** Runs whose measuring was asked to end. */
  readonly stopping = new Set<string>();
  /** The recording that is shown. */
  recording: Recording | null = null;
  /** How often stored runs have changed by what was done here. */
  touched = 0;
  history_s = 600;
  private readonly links: Record<Topic, Link> = { devices: { kind: 'loading' }, runs: { kind: 'loading' } };
  private listened: Heard | null = null;
  private readonly signal = new Signal<this, void>(this);

  get changed(): ISignal<this, void> {
    return this.signal;
  }

  /** How the server answers: what does not work is told before what does. */
  get link(): Link {
    const both = Object.values(this.links);
    const of = (...kinds: Link['kind'][]) => both.find(one => kinds.includes(one.kind));
    return of('missing', 'forbidden') ?? of('disconnected') ?? of('connected') ?? { kind: 'loading' };
  }

  /** The kernel whose runs are shown: the current one, or the one that the notebook had. */
  get kernel(): string | null {
    return shown(this.place);
  }

  /** The newest run of the current kernel. */
  get newest(): ISummary | null {
    return this.runs[0] ?? null;
  }

  /** Whether a run of the current kernel is being measured. */
  get live(): boolean {
    return this.newest?.outcome === 'running';
  }

  /** The current kernel's run from its messages alone, where the server has no record of one. */
  get heard(): Heard | null {
    return this.known && !this.live && this.listened?.ripe ? this.listened : null;
  }

  /** Take whatever the current kernel publishes; only our live view's frames matter. */
  hear(message: unknown): void {
    if (this.live) {
      this.listened = null; // the server's record is better
      return;
    }
    const found = asFrame(message);
    if (found) {
      if (this.listened?.comm !== found.comm) {
        this.listened = new Heard(found.comm, Date.now());
      }
      if (this.listened.take(found.frame, Date.now()) && this.heard) {
        this.emit();
      }
    }
  }

  /** What to give back to the server, so that it sends what is not known yet; empty: start anew. */
  get cursor(): string {
    if (!this.known) {
      return '';
    }
    const known = this.runs.slice(0, 1).map(run => {
      const drawn = this.run?.id === run.session_id ? this.run.seq : -1;
      return `${run.session_id}:${drawn}${run.outcome === 'running' ? '' : '!'}`;
    });
    return known.join(',') || '-';
  }

  /** Another kernel, or the same in another status; the runs of the former one are forgotten. */
  setPlace(place: Place): void {
    if (shown(place) !== this.kernel) {
      this.runs = [];
      this.run = null;
      this.known = false;
      this.noRuns = '';
      this.listened = null;
      this.links.runs = { kind: 'loading' };
    }
    this.place = place;
    this.emit();
  }

  setStatus(status: IStatus): void {
    this.status = status;
    this.answered('devices');
  }

  setDevices(devices: IDevices): void {
    this.devices = devices;
    this.answered('devices');
  }

  setHistory(history_s: number): void {
    this.history_s = history_s;
    if (this.run) {
      this.run.history_s = history_s;
    }
    this.emit();
  }

  /** Take an answer about a kernel's runs; one about a former kernel is dropped. */
  takeRuns(kernel: string, reply: IRuns): void {
    if (kernel !== this.kernel) {
      return;
    }
    this.known = true;
    this.noRuns = reply.reason;
    for (const { run } of [...reply.runs].reverse()) {
      this.runs = [run, ...this.runs.filter(one => one.session_id !== run.session_id)]
        .sort((a, b) => (a.session_id < b.session_id ? 1 : -1))
        .slice(0, MAX_RUNS);
    }
    if (this.newest && this.run?.id !== this.newest.session_id) {
      this.run = new Run(this.newest.session_id, this.history_s);
    }
    for (const { run, events, answer } of reply.runs) {
      if (run.session_id === this.run?.id) {
        const over = this.run.finished !== null;
        this.run.answer = answer ?? this.run.answer;
        for (const one of events) {
          const event = asEvent(one);
          if (event) {
            this.run.take(event);
          }
        }
        // what a live chart has dropped of a long run is drawn again when it is over
        const dropped = !over && this.run.finished !== null && this.run.end_s > this.history_s;
        this.run.behind = reply.more || dropped;
      }
    }
    this.answered('runs');
  }

  /** The newest run, if its beginning or too much of it is not known: its picture is to be asked for. */
  get wanting(): string | null {
    return this.run && (this.run.seq < 0 || this.run.behind) ? this.run.id : null;
  }

  /** Take the picture of the newest run so far; one that is no longer wanted is dropped. */
  takePicture(session: ISession, picture: IPicture): void {
    if (this.run?.id === picture.session_id) {
      this.run.restore(session, picture);
      if (session.stop_requested) {
        this.stopping.add(picture.session_id);
      }
      this.answered('runs');
    }
  }

  /** Take where the reading of a recording has come; null: none is shown. */
  setRecording(recording: Recording | null): void {
    this.recording = recording;
    this.touch();
  }

  /** Stored runs have changed: whoever lists them asks anew. */
  touch(): void {
    this.touched += 1;
    this.emit();
  }

  stopAsked(run: string): void {
    if (this.stopping.size >= MAX_RUNS) {
      this.stopping.clear();
    }
    this.stopping.add(run);
    this.emit();
  }

  stopFailed(run: string): void {
    this.stopping.delete(run);
    this.emit();
  }

  /** Take note of a request that failed. */
  failed(topic: Topic, error: unknown, failures: number, retry_ms: number): void {
    const failure = error instanceof TransportError ? error.failure : 'failed';
    if (failure === 'missing' || failure === 'forbidden') {
      this.links[topic] = { kind: failure };
    } else if (failure !== 'refused' && (failures > TOLERATED || this.links[topic].kind === 'loading')) {
      const message = error instanceof Error ? error.message : String(error);
      this.links[topic] = { kind: 'disconnected', retry_at: Date.now() + retry_ms, message };
    }
    this.emit();
  }

  private answered(topic: Topic): void {
    this.links[topic] = { kind: 'connected' };
    this.emit();
  }

  private emit(): void {
    this.signal.emit();
  }
}

/** The kernel's id, where there is one. */
export function kernelOf(place: Place): string | null {
  return place.kind === 'kernel' ? place.id : null;
}

function shown(place: Place): string | null {
  return place.kind === 'no-kernel' ? (place.was ?? null) : kernelOf(place);
}
