/** Asks again and again: at the wished pace, later and later while nothing answers, never while hidden. */

export interface ILoopOptions {
  /** Ask once; returns how many milliseconds to wait before the next time. */
  task: (signal: AbortSignal) => Promise<number>;
  /** Whether to rest; `poke` looks again. */
  standby: () => boolean;
  /** Told of each failure: what went wrong, how many in a row, and when it is tried again. */
  failed: (error: unknown, failures: number, retry_ms: number) => void;
  /** For tests. */
  random?: () => number;
}

const FIRST_MS = 1000;
const LONGEST_MS = 30_000;

/** Between half and the whole of 1, 2, 4 ... 30 s, so that many pages do not come back at once. */
export function backoff(failures: number, random: () => number = Math.random): number {
  const whole = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(failures - 1, 10));
  return Math.max(FIRST_MS, whole * (0.5 + 0.5 * random()));
}

/** One question at a time. */
export class Loop {
  private timer: ReturnType<typeof setTimeout> | null = null;
  private asking: AbortController | null = null;
  private failures = 0;
  private running = false;

  constructor(private readonly options: ILoopOptions) {}

  start(): void {
    this.running = true;
    this.poke();
  }

  /** Ask at once, or as soon as the present question is answered; drop it if it is time to rest. */
  poke(): void {
    if (!this.running) {
      return;
    }
    if (this.options.standby()) {
      this.asking?.abort();
      this.asking = null;
      this.clear();
    } else if (!this.asking) {
      this.schedule(0);
    }
  }

  /** Drop the present question, as its answer is no longer wanted, and ask anew. */
  restart(): void {
    this.asking?.abort();
    this.asking = null;
    this.failures = 0;
    this.poke();
  }

  /** Whether nothing is asked and nothing is due. */
  get resting(): boolean {
    return this.timer === null && this.asking === null;
  }

  dispose(): void {
    this.running = false;
    this.asking?.abort();
    this.asking = null;
    this.clear();
  }

  private clear(): void {
    if (this.timer !== null) {
      clearTimeout(this.timer);
      this.timer = null;
    }
  }

  private schedule(delay_ms: number): void {
    this.clear();
    if (this.options.standby()) {
      return;
    }
    this.timer = setTimeout(() => {
      this.timer = null;
      void this.ask();
    }, delay_ms);
  }

  private async ask(): Promise<void> {
    if (this.options.standby()) {
      return;
    }
    const asking = (this.asking = new AbortController());
    let delay_ms: number;
    try {
      delay_ms = await this.options.task(asking.signal);
      this.failures = asking === this.asking ? 0 : this.failures;
    } catch (error) {
      if (asking !== this.asking) {
        return; // dropped: `restart` has asked anew
      }
      this.failures += 1;
      delay_ms = backoff(this.failures, this.options.random);
      this.options.failed(error, this.failures, delay_ms);
    }
    if (asking === this.asking) {
      this.asking = null;
      if (this.running) {
        this.schedule(delay_ms);
      }
    }
  }
}
