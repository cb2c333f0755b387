import { Signal } from '@lumino/signaling';
import { afterEach, describe, expect, it, vi } from 'vitest';

import { Follower } from '../follower';
import { IHasSession, ITracker, Kernels, Place } from '../kernels';
import { loads, withMagic } from '../magic';
import type { IApi } from '../api';
import { Model } from '../model';
import { TransportError } from '../transport';
import { asSettings, DEFAULTS } from '../settings';
import { api, devices, KERNEL, lines, picture, runs, session, summary } from './fixtures';

vi.mock('@jupyterlab/services', () => ({ ServerConnection: {} }));
vi.mock('@jupyterlab/coreutils', () => ({ URLExt: {} }));

class Context {
  session: { kernel: { id: string; status: string } | null } | null;
  readonly kernelChanged = new Signal<this, unknown>(this);
  readonly statusChanged = new Signal<this, unknown>(this);
  readonly sessionChanged = new Signal<this, unknown>(this);
  readonly iopubMessage = new Signal<this, unknown>(this);
  constructor(id: string | null) {
    this.session = id ? { kernel: { id, status: 'idle' } } : null;
  }
}

function panel(label: string, id: string | null) {
  const context = new Context(id);
  const widget = { sessionContext: context, title: { label }, isDisposed: false };
  return { context, widget: widget as unknown as IHasSession };
}

class Tracker implements ITracker {
  currentWidget: IHasSession | null = null;
  readonly currentChanged: Signal<ITracker, unknown> = new Signal<ITracker, unknown>(this);
  show(widget: IHasSession | null): void {
    this.currentWidget = widget;
    this.currentChanged.emit(widget);
  }
}

/** Hold a question until it is dropped. */
function gone(signal?: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal?.addEventListener('abort', () => reject(new Error('gone'))));
}

function following(...trackers: Tracker[]) {
  const kernels = new Kernels(trackers);
  const seen: Place[] = [];
  kernels.changed.connect((_, place) => seen.push(place));
  return { kernels, seen };
}

describe('the current kernel', () => {
  it('is that of the notebook, then of the console, as they are turned to', () => {
    const [notebooks, consoles] = [new Tracker(), new Tracker()];
    const { kernels } = following(notebooks, consoles);
    expect(kernels.place).toEqual({ kind: 'nowhere' });
    notebooks.show(panel('a.ipynb', 'k1').widget);
    expect(kernels.place).toMatchObject({ name: 'a.ipynb', id: 'k1' });
    consoles.show(panel('Console 1', 'k2').widget);
    expect(kernels.place).toMatchObject({ id: 'k2' });
    consoles.show(null);
    expect(kernels.place).toMatchObject({ id: 'k1' });
    notebooks.show(null);
    expect(kernels.place).toEqual({ kind: 'nowhere' });
  });

  it('is told of a restart, which is a change of status alone', () => {
    const tracker = new Tracker();
    const { seen } = following(tracker);
    const { context, widget } = panel('a.ipynb', 'k1');
    tracker.show(widget);
    context.session!.kernel!.status = 'restarting';
    context.statusChanged.emit(null);
    expect(seen.at(-1)).toMatchObject({ id: 'k1', status: 'restarting' });
  });

  it('may be shut down, and be another', () => {
    const tracker = new Tracker();
    const { seen } = following(tracker);
    const { context, widget } = panel('a.ipynb', 'k1');
    tracker.show(widget);
    context.session!.kernel = null;
    context.kernelChanged.emit(null);
    expect(seen.at(-1)).toMatchObject({ kind: 'no-kernel', name: 'a.ipynb' });
    context.session!.kernel = { id: 'k3', status: 'idle' };
    context.kernelChanged.emit(null);
    expect(seen.at(-1)).toMatchObject({ id: 'k3' });
  });

  it('that has gone is remembered by its notebook, however often one looks elsewhere', () => {
    const tracker = new Tracker();
    const { kernels } = following(tracker);
    const first = panel('a.ipynb', 'k1');
    tracker.show(first.widget);
    first.context.session = null;
    first.context.kernelChanged.emit(null);
    expect(kernels.place).toEqual({ kind: 'no-kernel', name: 'a.ipynb', was: 'k1' });
    tracker.show(panel('a.ipynb', null).widget); // of another folder
    expect(kernels.place).toEqual({ kind: 'no-kernel', name: 'a.ipynb', was: undefined });
    tracker.show(first.widget);
    expect(kernels.place).toMatchObject({ was: 'k1' });
  });

  it('a notebook that was left is not listened to any more', () => {
    const tracker = new Tracker();
    const { kernels, seen } = following(tracker);
    const first = panel('a.ipynb', 'k1');
    tracker.show(first.widget);
    tracker.show(panel('b.ipynb', 'k2').widget);
    const before = seen.length;
    first.context.session!.kernel!.status = 'busy';
    first.context.statusChanged.emit(null);
    expect(seen).toHaveLength(before);
    kernels.dispose();
    tracker.show(first.widget);
    expect(seen.at(-1)).not.toMatchObject({ id: 'k1' });
  });
});

describe('the follower', () => {
  afterEach(() => vi.useRealTimers());

  it('asks for what is seen, and drops what is late', async () => {
    vi.useFakeTimers();
    const tracker = new Tracker();
    tracker.show(panel('a.ipynb', KERNEL).widget);
    const model = new Model();
    const asked: [string, string, number][] = [];
    const server = api({
      runs: async (kernel, since, wait_s, signal) => {
        asked.push([kernel, since, wait_s]);
        if (since) {
          await gone(signal);
        }
        return kernel === KERNEL
          ? runs(since ? [] : lines(), {}, summary({ outcome: 'completed' }))
          : { ...runs([]), kernel_id: kernel, runs: [] };
      },
      follow: async (kernel, since, { stream_s }, _take, signal) => {
        asked.push([kernel, since, stream_s]);
        return gone(signal);
      }
    });
    const devices = vi.spyOn(server, 'devices');
    const follower = new Follower(server, model, new Kernels([tracker]), () => 0);
    follower.show({ panel: false, status: false });
    follower.start();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked).toEqual([]);
    expect(devices).not.toHaveBeenCalled();

    follower.show({ panel: true });
    await vi.advanceTimersByTimeAsync(3000);
    expect(devices).toHaveBeenCalledTimes(1); // then the stream brings them
    expect(asked.map(([, since]) => since)).toEqual(['', `${model.run?.id}:13!`]);
    expect(asked[1]?.[2]).toBe(60);
    expect(model.link.kind).toBe('connected');

    tracker.show(panel('b.ipynb', 'another').widget);
    await vi.advanceTimersByTimeAsync(1000);
    expect(model.runs).toEqual([]);
    expect(asked.at(-1)?.[0]).toBe('another');
    follower.dispose();
    const before = asked.length;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked).toHaveLength(before);
  });

  function follows(changed: Partial<IApi>, refresh_ms = 250) {
    vi.useFakeTimers();
    const tracker = new Tracker();
    tracker.show(panel('a.ipynb', KERNEL).widget);
    const model = new Model();
    const held: number[] = [];
    const server = api({
      runs: async (_kernel, since, wait_s) => {
        held.push(wait_s);
        return runs(since ? [] : lines().slice(0, 3));
      },
      ...changed
    });
    const follower = new Follower(server, model, new Kernels([tracker]), () => 0);
    follower.refresh_ms = refresh_ms;
    follower.show({ panel: true });
    follower.start();
    return { follower, model, held };
  }

  it('takes a stream of news, and asks again from where it ended', async () => {
    const since: string[] = [];
    const { follower, model } = follows({
      follow: async (_kernel, from, _s, take) => {
        since.push(from);
        const next = lines()[2 + since.length];
        const busy = devices({ read_at: `${since.length}` });
        expect(take({ ...runs(next ? [next] : []), devices: busy })).toBe(true);
        expect(model.devices?.read_at).toBe(`${since.length}`);
        await new Promise(resolve => setTimeout(resolve, 60_000));
      }
    });
    await vi.advanceTimersByTimeAsync(1000);
    expect(model.run?.seq).toBe(3);
    await vi.advanceTimersByTimeAsync(61_000);
    expect(model.run?.seq).toBe(4);
    expect(since.map(one => one.split(':')[1])).toEqual(['2', '3']);
    follower.dispose();
  });

  it.each([true, false])('follows a live run of a hidden page slowly, where news are wanted: %s', async notifies => {
    const { follower, held } = follows({ follow: async (...given) => gone(given[4]) });
    follower.notifies = notifies;
    await vi.advanceTimersByTimeAsync(1000);
    const hidden = vi.spyOn(document, 'hidden', 'get').mockReturnValue(true);
    document.dispatchEvent(new Event('visibilitychange'));
    await vi.advanceTimersByTimeAsync(5000);
    const before = held.length;
    await vi.advanceTimersByTimeAsync(60_000);
    const asked = held.slice(before);
    expect(asked.length).toBeLessThanOrEqual(5);
    expect(asked.length > 0).toBe(notifies);
    hidden.mockRestore();
    follower.dispose();
  });

  it('asks instead where a stream is kept back, or news are wanted less often', async () => {
    const kept = vi.fn((...given: Parameters<IApi['follow']>) => gone(given[4]));
    const { follower, held } = follows({ follow: kept });
    await vi.advanceTimersByTimeAsync(3900);
    expect(held).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(2000);
    expect(held.length).toBeGreaterThan(3);
    expect(held.at(-1)).toBe(10);
    expect(kept).toHaveBeenCalledTimes(1);
    follower.dispose();
    const other = vi.fn((...given: Parameters<IApi['follow']>) => gone(given[4]));
    const slow = follows({ follow: other }, 1000);
    await vi.advanceTimersByTimeAsync(5000);
    expect(other).not.toHaveBeenCalled();
    expect(slow.held.length).toBeGreaterThan(3);
    slow.follower.dispose();
  });

  it('lets go of a stream that nobody sees any more', async () => {
    const signals: AbortSignal[] = [];
    const { follower } = follows({
      follow: async (_kernel, _since, _s, take, signal) => {
        take(runs([]));
        signals.push(signal);
        return gone(signal);
      }
    });
    await vi.advanceTimersByTimeAsync(1000);
    expect(signals.map(one => one.aborted)).toEqual([false]);
    follower.show({ panel: false, status: false });
    await vi.advanceTimersByTimeAsync(1000);
    expect(signals.map(one => one.aborted)).toEqual([true]);
    follower.show({ panel: true });
    await vi.advanceTimersByTimeAsync(1000);
    expect(signals).toHaveLength(2);
    follower.dispose();
  });

  it('learns how a run ended whose kernel went with the server', async () => {
    const refused = async () => {
      throw new TransportError('refused', 404, 'this server has no such kernel', 'restarted?');
    };
    const lost = summary({ outcome: 'lost' });
    const { follower, model } = follows({
      follow: refused,
      session: async () => session({ session: lost }),
      picture: async () => picture({ outcome: 'lost', seq: 9 })
    });
    await vi.advanceTimersByTimeAsync(1000);
    expect(model.newest?.outcome).toBe('lost');
    expect(model.run?.seq).toBe(9);
    expect(model.link.kind).toBe('connected');
    follower.dispose();
  });
});

describe('the settings', () => {
  it('are kept within their limits', () => {
    expect(asSettings({ refreshMs: 1, historySeconds: 1e9, announce: 'off' })).toMatchObject({
      refreshMs: 250,
      historySeconds: 3600,
      announce: 'off'
    });
  });

  it('are the default where they are none', () => {
    expect(asSettings({ refreshMs: 'fast', metrics: 4, memoryUnit: 'furlong', showStatusItem: 0 })).toEqual(DEFAULTS);
  });
});

describe('the magic', () => {
  it('comes before everything else, once', () => {
    expect(withMagic('train()')).toBe('%%gpupredict\ntrain()');
    expect(withMagic('%%time\ntrain()')).toBe('%%gpupredict\n%%time\ntrain()');
    expect(withMagic('%%gpupredict --mps\ntrain()')).toBeNull();
    expect(withMagic('\n%%gpupredict\ntrain()')).toBeNull();
    expect(withMagic('%%gpupredictX\n')).toBe('%%gpupredict\n%%gpupredictX\n');
  });

  it('is known to be loaded', () => {
    expect(loads(['import torch\n%load_ext jupyter_gpupredict'])).toBe(true);
    expect(loads(['%reload_ext jupyter_gpupredict'])).toBe(true);
    expect(loads(['# load_ext jupyter_gpupredict', '%load_ext jupyter_gpupredict_other_not'])).toBe(false);
  });
});
