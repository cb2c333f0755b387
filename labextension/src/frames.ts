/** A run as the messages of its live view tell it, where the server has no record of it. */
import type { IAnswer } from './api';
import { MAX_ROWS } from './track';

/** From the first message to the picture: a local run's record is there by then, and is better. */
const PATIENCE_MS = 3000;

type Row = [number, number | null, number | null];

/** What the kernel sends to its live view: rows in percent and MiB, and words. */
export interface IFrame {
  kind: 'key' | 'delta';
  seq: number;
  end: number;
  share_from: number;
  share: Row[];
  memory_from: number;
  memory: [number, number | null][];
  target: number | null;
  finished: boolean;
  /** The answer, where it is another one; its details come with a whole frame. */
  answer: (Omit<IAnswer, 'details'> & Partial<Pick<IAnswer, 'details'>>) | null;
}

/** Return the frame in a message of a kernel, with its comm; null when there is none of ours. */
export function asFrame(message: unknown): { comm: string; frame: IFrame } | null {
  if (!isRecord(message) || !isRecord(message.header) || message.header.msg_type !== 'comm_msg') {
    return null;
  }
  const content = message.content;
  if (!isRecord(content) || typeof content.comm_id !== 'string' || !isRecord(content.data)) {
    return null;
  }
  const frame = content.data.content;
  if (content.data.method !== 'custom' || !isRecord(frame)) {
    return null;
  }
  const fits =
    (frame.kind === 'key' || frame.kind === 'delta') &&
    ['seq', 'end', 'share_from', 'memory_from'].every(name => typeof frame[name] === 'number') &&
    (frame.answer === null || (isRecord(frame.answer) && Array.isArray(frame.answer.actions))) &&
    Array.isArray(frame.share) &&
    Array.isArray(frame.memory) &&
    [...frame.share, ...frame.memory].every(row => Array.isArray(row) && typeof row[0] === 'number');
  return fits ? { comm: content.comm_id, frame: frame as unknown as IFrame } : null;
}

/** One run, from its messages alone: what came before the page was loaded comes with a whole frame. */
export class Heard {
  /** The newest frame; null until a whole one has come. */
  last: IFrame | null = null;
  answer: IAnswer | null = null;
  share: Row[] = [];
  memory: [number, number | null][] = [];

  private latest_ms: number;

  constructor(
    readonly comm: string,
    private readonly since_ms: number
  ) {
    this.latest_ms = since_ms;
  }

  /** Take a frame; false where it does not follow what is known: the next whole one mends that. */
  take(frame: IFrame, now_ms: number): boolean {
    this.latest_ms = now_ms;
    if (frame.kind === 'delta' && frame.seq !== (this.last?.seq ?? NaN) + 1) {
      return false;
    }
    const from = frame.kind === 'key' ? [0, 0] : [frame.share_from, frame.memory_from];
    this.share = [...this.share.slice(0, from[0]), ...frame.share].slice(-MAX_ROWS);
    this.memory = [...this.memory.slice(0, from[1]), ...frame.memory].slice(-MAX_ROWS);
    const details = frame.answer?.details ?? this.answer?.details;
    if (frame.answer && details) {
      this.answer = { ...frame.answer, details };
    }
    this.last = frame;
    return true;
  }

  /** Whether it has gone on for long enough to be sure that the server has no record. */
  get ripe(): boolean {
    return this.last !== null && this.latest_ms - this.since_ms >= PATIENCE_MS;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
