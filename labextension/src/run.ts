/** What is known of one run: its events, reduced. */
import type {
  IProgressMade,
  IRecommendation,
  ISeries,
  ISessionFinished,
  ISessionStarted,
  RunEvent
} from './events';
import type { IAnswer, IPicture, ISession } from './api';
import { asEvent } from './events';
import { Track } from './track';

const MAX_WINDOWS = 240;
const MAX_MARKS = 200;
const MAX_TRACKS = 16;
/** Devices drawn beside the first one. */
const MAX_FURTHER = 7;

export interface IMissing {
  reason: string;
  detail: string;
}

/** Something that happened, as a thin line in the charts. */
export interface IMark {
  t: number;
  kind: 'settled' | 'changed' | 'epoch';
  text: string;
}

export interface IFurther {
  device: string;
  rank: number | null;
  track: Track;
}

/** One run; `take` is the reducer. */
export class Run {
  /** The newest event that was taken; -1 before the first. */
  seq = -1;
  /** Seconds since the run began, as far as is known. */
  end_s = 0;
  started: ISessionStarted | null = null;
  finished: ISessionFinished | null = null;
  recommendation: IRecommendation | null = null;
  /** What there is to say of it, in the server's words. */
  answer: IAnswer | null = null;
  progress: IProgressMade | null = null;
  /** Set while the source does not answer. */
  lost: IMissing | null = null;
  /** Seconds that are known to have no readings. */
  gaps_s = 0;
  /** Events that never came; the server keeps only so much for a slow reader. */
  skipped = 0;
  /** More has happened than is sent at a time: the picture is to be asked for anew. */
  behind = false;
  readonly windows: [number, number][] = [];
  readonly marks: IMark[] = [];
  readonly tracks = new Map<string, Track>();
  /** The judged metric of further devices or ranks, those that came first. */
  readonly further = new Map<string, IFurther>();
  readonly missing = new Map<string, IMissing>();

  constructor(
    readonly id: string,
    public history_s = 600
  ) {}

  /** The readings that the share is predicted from. */
  get share(): Track | null {
    return this.started ? (this.tracks.get(this.started.share.metric) ?? null) : null;
  }

  /** The readings that the memory is predicted from. */
  get memory(): Track | null {
    return this.started?.memory ? (this.tracks.get(this.started.memory.metric) ?? null) : null;
  }

  /** Take one event; false for one that was seen before. */
  take(event: RunEvent): boolean {
    if (event.seq <= this.seq) {
      return false;
    }
    this.skipped += event.seq - this.seq - 1;
    this.seq = event.seq;
    this.end_s = Math.max(this.end_s, event.t_s);
    switch (event.event) {
      case 'SessionStarted':
        this.started = event;
        break;
      case 'SamplesTaken':
        for (const readings of event.readings) {
          this.read(readings.series, readings.times_s, readings.values);
        }
        break;
      case 'WindowClosed':
        if (!event.void) {
          this.windows.push([event.from_s, event.to_s]);
          this.windows.splice(0, this.windows.length - MAX_WINDOWS);
        }
        break;
      case 'MetricUnavailable':
        this.missing.set(event.series.metric, { reason: event.reason, detail: event.detail });
        break;
      case 'GapObserved':
        this.gaps_s += event.to_s - event.from_s;
        this.share?.cut(event.from_s);
        break;
      case 'SourceLost':
        this.lost = { reason: event.reason, detail: event.detail };
        this.cut(event.source, event.t_s);
        break;
      case 'SourceRecovered':
        this.lost = null;
        break;
      case 'ProgressMade':
        if (event.unit === 'epoch' && Math.floor(event.done) > Math.floor(this.progress?.done ?? 0)) {
          this.mark(event.t_s, 'epoch', `${event.unit} ${Math.floor(event.done)}`);
        }
        this.progress = event;
        break;
      case 'RecommendationUpdated':
        this.recommendation = event.recommendation;
        break;
      case 'StateChanged':
        if (event.new === 'converged' || event.new === 'stale') {
          this.mark(event.t_s, event.new === 'stale' ? 'changed' : 'settled', event.reason);
        }
        break;
      case 'SessionFinished':
        this.finished = event;
        this.lost = null;
        this.recommendation = event.recommendation ?? this.recommendation;
        break;
    }
    return true;
  }

  /** Begin with what the server has drawn already; events after it are taken one by one. */
  restore(session: ISession, picture: IPicture): void {
    if (picture.seq < this.seq) {
      return;
    }
    this.tracks.clear();
    this.further.clear();
    this.windows.length = 0;
    this.marks.length = 0;
    this.progress = null;
    this.gaps_s = 0;
    this.seq = -1;
    const events = [session.started, ...picture.marks, session.finished]
      .map(asEvent)
      .filter(event => event !== null)
      .sort((a, b) => a.seq - b.seq);
    events.forEach(event => this.take(event));
    for (const rows of picture.series) {
      if (rows.device !== this.started?.share.device) {
        this.beside(rows)?.fill(rows.times_s, rows.low, rows.high);
        continue;
      }
      if (this.tracks.size >= MAX_TRACKS) {
        continue;
      }
      if (rows.times_s.length === 0 && rows.reason) {
        this.missing.set(rows.metric, { reason: rows.reason, detail: '' });
        continue;
      }
      const track = new Track(this.history_s);
      track.fill(rows.times_s, rows.low, rows.high);
      this.tracks.set(rows.metric, track);
    }
    this.recommendation = session.recommendation ?? this.recommendation;
    this.answer = session.answer;
    this.seq = Math.max(this.seq, picture.seq);
    this.behind = !picture.complete;
    this.skipped = 0; // the picture holds all of it
    this.end_s = Math.max(this.end_s, picture.duration_s);
  }

  private add(track: Track | null, times: number[], values: (number | null)[]): void {
    if (track) {
      track.history_s = this.history_s;
      times.forEach((t, i) => track.add(t, values[i] ?? null));
    }
    this.end_s = Math.max(this.end_s, times.at(-1) ?? 0);
  }

  private mark(t: number, kind: IMark['kind'], text: string): void {
    this.marks.push({ t, kind, text });
    this.marks.splice(0, this.marks.length - MAX_MARKS);
  }

  /** The track of the judged metric of a device beside the judged one; null: it is not drawn. */
  private beside(series: ISeries): Track | null {
    if (!this.started || series.metric !== this.started.share.metric) {
      return null;
    }
    let found = this.further.get(series.device);
    if (!found) {
      if (this.further.size >= MAX_FURTHER) {
        return null;
      }
      const { device, rank } = series;
      found = { device, rank, track: new Track(this.history_s) };
      this.further.set(device, found);
    }
    return found.track;
  }

  /** End the lines where readings stop: of one device of several, or of all. */
  private cut(source: string, t_s: number): void {
    const all = source === this.started?.source;
    if (all || source === this.started?.share.device) {
      this.tracks.forEach(track => track.cut(t_s));
    }
    this.further.forEach(({ device, track }) => {
      if (all || source === device) {
        track.cut(t_s);
      }
    });
  }

  /** Take readings of one series. */
  private read(series: ISeries, times: number[], values: (number | null)[]): void {
    const { metric, device } = series;
    const judged = this.started?.share.device;
    if (judged !== undefined && device !== judged) {
      this.add(this.beside(series), times, values);
      return;
    }
    let track = this.tracks.get(metric);
    if (!track) {
      if (this.tracks.size >= MAX_TRACKS) {
        return;
      }
      track = new Track(this.history_s);
      this.tracks.set(metric, track);
    }
    this.add(track, times, values);
    if (values.some(value => value !== null)) {
      this.missing.delete(metric);
    }
  }
}
