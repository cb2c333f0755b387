/** Which kernel is the user's: that of the current notebook or console, through switches and restarts. */
import type { ISessionContext } from '@jupyterlab/apputils';
import { IDisposable } from '@lumino/disposable';
import { ISignal, Signal } from '@lumino/signaling';

/** Where the user is. */
export type Place =
  | { kind: 'nowhere' }
  | { kind: 'no-kernel'; name: string; /** The kernel it had before. */ was?: string }
  | { kind: 'kernel'; name: string; id: string; status: string };

/** The part of a notebook or console panel that matters here. */
export interface IHasSession {
  readonly sessionContext: ISessionContext;
  readonly title: { readonly label: string };
  readonly isDisposed: boolean;
}

/** The part of a widget tracker that matters here. */
export interface ITracker {
  readonly currentWidget: IHasSession | null;
  readonly currentChanged: ISignal<unknown, unknown>;
}

/** Follows the trackers; a restart keeps the kernel's id and is told by its status alone. */
export class Kernels implements IDisposable {
  private context: ISessionContext | null = null;
  private panel: IHasSession | null = null;
  private over = false;
  /** A kernel that has gone leaves its runs behind. */
  private readonly last = new WeakMap<IHasSession, string>();
  private now: Place = { kind: 'nowhere' };
  private readonly signal = new Signal<this, Place>(this);
  private readonly messages = new Signal<this, unknown>(this);

  constructor(private readonly trackers: readonly ITracker[]) {
    for (const tracker of trackers) {
      tracker.currentChanged.connect(this.onCurrent, this);
      if (!this.panel && tracker.currentWidget) {
        this.follow(tracker.currentWidget);
      }
    }
  }

  /** Emitted when the kernel is another one, or its status changed. */
  get changed(): ISignal<this, Place> {
    return this.signal;
  }

  /** Emits what the current kernel publishes, as it comes. */
  get message(): ISignal<this, unknown> {
    return this.messages;
  }

  get place(): Place {
    return this.now;
  }

  get isDisposed(): boolean {
    return this.over;
  }

  dispose(): void {
    this.over = true;
    this.follow(null);
    Signal.clearData(this);
  }

  private onCurrent(sender: unknown): void {
    const tracker = this.trackers.find(one => one === sender);
    const chosen =
      tracker?.currentWidget ?? this.trackers.map(one => one.currentWidget).find(one => one) ?? null;
    this.follow(chosen);
  }

  private follow(panel: IHasSession | null): void {
    if (this.context) {
      this.context.kernelChanged.disconnect(this.look, this);
      this.context.statusChanged.disconnect(this.look, this);
      this.context.sessionChanged.disconnect(this.look, this);
      this.context.iopubMessage.disconnect(this.onMessage, this);
    }
    this.panel = panel;
    this.context = panel?.sessionContext ?? null;
    if (this.context) {
      this.context.kernelChanged.connect(this.look, this);
      this.context.statusChanged.connect(this.look, this);
      this.context.sessionChanged.connect(this.look, this);
      this.context.iopubMessage.connect(this.onMessage, this);
    }
    this.look();
  }

  private onMessage(_: unknown, message: unknown): void {
    this.messages.emit(message);
  }

  private look(): void {
    const name = this.panel?.title.label ?? '';
    const kernel = this.context?.session?.kernel ?? null;
    if (this.panel && kernel) {
      this.last.set(this.panel, kernel.id);
    }
    const next: Place =
      this.panel === null
        ? { kind: 'nowhere' }
        : kernel === null
          ? { kind: 'no-kernel', name, was: this.last.get(this.panel) }
          : { kind: 'kernel', name, id: kernel.id, status: kernel.status };
    if (JSON.stringify(next) !== JSON.stringify(this.now)) {
      this.now = next;
      this.signal.emit(next);
    }
  }
}
