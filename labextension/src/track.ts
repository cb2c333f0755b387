/** A bounded line of readings: full while it is short, then the lowest and highest of each stretch. */

/** One stretch of time; null where nothing was read. */
export interface IRow {
  t: number;
  low: number | null;
  high: number | null;
}

/** No chart holds more rows than this, however long a run lasts. */
export const MAX_ROWS = 600;

/** Readings in the order of time, at most `MAX_ROWS` rows. */
export class Track {
  readonly rows: IRow[] = [];
  /** The time that one row stands for; 0 while each reading has its own. */
  width = 0;
  last: number | null = null;
  peak: number | null = null;

  constructor(public history_s: number) {}

  /** Take one reading; null where it was asked for and could not be read. */
  add(t: number, value: number | null): void {
    if (value !== null) {
      this.last = value;
      this.peak = this.peak === null ? value : Math.max(this.peak, value);
    }
    const row = this.rows.at(-1);
    if (row && t < row.t) {
      return; // out of order: it was drawn before
    }
    if (row && this.width > 0 && t - row.t < this.width && merges(row, value)) {
      row.low = Math.min(row.low ?? Infinity, value as number);
      row.high = Math.max(row.high ?? -Infinity, value as number);
      return;
    }
    this.rows.push({ t, low: value, high: value });
    if (this.rows.length > MAX_ROWS) {
      this.shrink(t);
    }
  }

  /** Begin with rows that were made elsewhere. */
  fill(times: number[], low: (number | null)[], high: (number | null)[]): void {
    this.rows.length = 0;
    times.forEach((t, i) => {
      this.rows.push({ t, low: low[i] ?? null, high: high[i] ?? null });
      const value = high[i] ?? null;
      if (value !== null) {
        this.last = value;
        this.peak = this.peak === null ? value : Math.max(this.peak, value);
      }
    });
    if (this.rows.length > MAX_ROWS) {
      this.shrink(this.rows.at(-1)?.t ?? 0);
    }
  }

  /** Break the line: nothing is known from here on. */
  cut(t: number): void {
    const row = this.rows.at(-1);
    if (row && row.high !== null) {
      this.rows.push({ t: Math.max(t, row.t), low: null, high: null });
    }
  }

  /** Drop what is older than the history; join neighbours if that is not enough. */
  private shrink(now: number): void {
    const from = now - this.history_s;
    const old = this.rows.findIndex(row => row.t >= from);
    this.rows.splice(0, Math.max(0, old));
    if (this.rows.length <= MAX_ROWS) {
      return;
    }
    const span = now - (this.rows[0]?.t ?? now);
    this.width = Math.max(2 * this.width, (2 * span) / MAX_ROWS);
    const joined: IRow[] = [];
    for (const row of this.rows) {
      const before = joined.at(-1);
      if (before && row.t - before.t < this.width && merges(before, row.high)) {
        before.low = Math.min(before.low as number, row.low as number);
        before.high = Math.max(before.high as number, row.high as number);
      } else {
        joined.push({ ...row });
      }
    }
    // Holes are kept apart above; so many of them that they alone fill the line lose the oldest.
    this.rows.splice(0, this.rows.length, ...joined.slice(-MAX_ROWS));
  }
}

function merges(row: IRow, value: number | null): boolean {
  return row.high !== null && value !== null;
}
