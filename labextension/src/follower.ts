/** Keeps the model true: asks for the devices and for the current kernel's runs. */
import { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

import type { IApi, IRuns } from './api';
import type { Kernels, Place } from './kernels';
import { Loop } from './loop';
import { kernelOf, Model, Topic } from './model';
import { TransportError } from './transport';

/** How long the server may hold a question: below the time-outs of usual proxies. */
const HOLD_S = 10;
/** How long one stream of answers lasts: a page that went away unseen is soon forgotten. */
const STREAM_S = 60;
/** A stream begins with the present; where that does not come, something in between keeps it back. */
const FIRST_LINE_MS = 4000;
/** The server sends news about so often; who wants them less often asks instead. */
const STREAM_MS = 250;
const SLOW_MS = 5000;
const HIDDEN_MS = 15_000;
const WIDTH = 600;

export class Follower implements IDisposable {
  /** From an answer to the next question, at least. */
  refresh_ms = 250;
  /** Whether a live run is followed while the page is hidden, so that a notification can come of it. */
  notifies = false;
  private panelShown = false;
  private statusShown = true;
  private over = false;
  private streams = true;
  /** Whether the present stream brings the devices along, so that they need no question. */
  private carrying = false;
  private readonly devices: Loop;
  private readonly runs: Loop;
  private readonly onVisible = () => this.poke();

  constructor(
    private readonly api: IApi,
    private readonly model: Model,
    private readonly kernels: Kernels,
    random?: () => number
  ) {
    const failed = (topic: Topic) => (error: unknown, failures: number, retry_ms: number) =>
      model.failed(topic, error, failures, retry_ms);
    this.devices = new Loop({
      task: signal => this.askDevices(signal),
      standby: () => document.hidden || !this.panelShown || this.carrying,
      failed: failed('devices'),
      random
    });
    this.runs = new Loop({
      task: signal => this.askRuns(signal),
      standby: () => !this.wanted || !this.telling,
      failed: failed('runs'),
      random
    });
    kernels.changed.connect(this.onPlace, this);
    kernels.message.connect(this.onMessage, this);
  }

  start(): void {
    document.addEventListener('visibilitychange', this.onVisible);
    this.model.setPlace(this.kernels.place);
    this.devices.start();
    this.runs.start();
  }

  /** Whether the panel and the status item can be seen: what nobody sees is not asked for. */
  show(what: { panel?: boolean; status?: boolean }): void {
    const opened = what.panel === true && !this.panelShown;
    this.panelShown = what.panel ?? this.panelShown;
    if (opened) {
      this.runs.restart(); // the present stream may be one without the devices
    }
    this.statusShown = what.status ?? this.statusShown;
    this.poke();
  }

  /** Ask at once, whatever the waiting time. */
  poke(): void {
    if (!this.over) {
      this.devices.poke();
      this.runs.poke();
    }
  }

  /** The user asked to try again. */
  retry(): void {
    this.devices.restart();
    this.runs.restart();
  }

  get isDisposed(): boolean {
    return this.over;
  }

  dispose(): void {
    this.over = true;
    document.removeEventListener('visibilitychange', this.onVisible);
    Signal.clearData(this);
    this.devices.dispose();
    this.runs.dispose();
  }

  private onPlace(_: Kernels, place: Place): void {
    const before = this.model.kernel;
    this.model.setPlace(place);
    if (!this.telling) {
      this.carry(false);
    }
    if (this.model.kernel !== before) {
      this.runs.restart();
    } else {
      this.runs.poke(); // busy may mean a new run, idle the end of one
    }
  }

  private onMessage(_: Kernels, message: unknown): void {
    this.model.hear(message);
  }

  private async askDevices(signal: AbortSignal): Promise<number> {
    if (!this.model.status) {
      this.model.setStatus(await this.api.status(signal));
    }
    this.model.setDevices(await this.api.devices(signal));
    return Math.max(this.refresh_ms, 1000); // the server reads no faster
  }

  private async askRuns(signal: AbortSignal): Promise<number> {
    const kernel = this.model.kernel;
    if (!kernel) {
      return SLOW_MS;
    }
    let more = false;
    try {
      if (this.eager && this.streams && this.refresh_ms <= STREAM_MS && this.model.known) {
        await this.stream(kernel, signal);
      } else {
        this.carry(false);
        const hold_s = this.eager ? HOLD_S : 0;
        const reply = await this.api.runs(kernel, this.model.cursor, hold_s, signal);
        if (signal.aborted) {
          return SLOW_MS;
        }
        this.model.takeRuns(kernel, reply);
        more = reply.more || !this.model.known;
      }
    } catch (error) {
      if (!signal.aborted) {
        this.carry(false);
      }
      if (!(error instanceof TransportError) || error.failure !== 'refused') {
        throw error;
      }
      await this.takeUnknown(kernel, error.message, signal);
      return SLOW_MS;
    }
    const wanting = this.model.wanting;
    if (wanting) {
      const [session, picture] = await Promise.all([
        this.api.session(wanting, signal),
        this.api.picture(wanting, WIDTH, signal)
      ]);
      this.model.takePicture(session, picture);
      return 0;
    }
    if (more) {
      return 0;
    }
    return document.hidden ? HIDDEN_MS : this.eager ? this.refresh_ms : SLOW_MS;
  }

  /** Whether anybody would see the news, or be notified. */
  private get wanted(): boolean {
    return document.hidden ? this.notifies && this.model.live : this.panelShown || this.statusShown;
  }

  /** Whether there may be news: a kernel that has gone has none but the end of its run. */
  private get telling(): boolean {
    return kernelOf(this.model.place) !== null || (this.model.kernel !== null && this.model.live);
  }

  /** Whether news are wanted as soon as there are some. */
  private get eager(): boolean {
    return !document.hidden && (this.panelShown || this.model.live);
  }

  /** Take news as they come, until a picture is wanted or the time is over. */
  private async stream(kernel: string, signal: AbortSignal): Promise<void> {
    const own = new AbortController();
    const devices = this.panelShown && this.model.status !== null;
    this.carry(devices);
    const abort = () => own.abort();
    signal.addEventListener('abort', abort);
    const timer = setTimeout(() => {
      this.streams = false;
      own.abort();
    }, FIRST_LINE_MS);
    const take = (reply: IRuns) => {
      clearTimeout(timer);
      if (signal.aborted) {
        return false;
      }
      this.model.takeRuns(kernel, reply);
      if (reply.devices) {
        this.model.setDevices(reply.devices);
      }
      return this.eager && this.model.wanting === null;
    };
    try {
      await this.api.follow(kernel, this.model.cursor, { stream_s: STREAM_S, devices }, take, own.signal);
    } catch (error) {
      if (this.streams || signal.aborted) {
        throw error;
      } // else it was kept back, and is asked for from now on
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    }
  }

  private carry(devices: boolean): void {
    if (devices !== this.carrying) {
      this.carrying = devices;
      this.devices.poke(); // to rest, or to ask again
    }
  }

  /** The server does not know the kernel, perhaps as it was restarted: how did its run end? */
  private async takeUnknown(kernel: string, reason: string, signal: AbortSignal): Promise<void> {
    const run = this.model.live ? this.model.newest : null;
    const found = run
      ? await Promise.all([
          this.api.session(run.session_id, signal),
          this.api.picture(run.session_id, WIDTH, signal)
        ])
      : null;
    this.model.takeRuns(kernel, {
      kernel_id: kernel,
      host: '',
      cursor: '-',
      more: false,
      reason,
      runs: found ? [{ run: found[0].session, events: [], answer: found[0].answer }] : []
    });
    if (found) {
      this.model.takePicture(...found);
    }
  }
}
