import { Signal } from '@lumino/signaling';
import { afterEach, describe, expect, it, vi } from 'vitest';

import { Follower } from '../follower';
import { IHasSession, ITracker, Kernels, Place } from '../kernels';
import { loads, withMagic } from '../magic';
import { Model } from '../model';
import { asSettings, DEFAULTS } from '../settings';
import { api, KERNEL, lines, runs, summary } from './fixtures';

class Context {
  session: { kernel: { id: string; status: string } | null } | null;
  readonly kernelChanged = new Signal<this, unknown>(this);
  readonly statusChanged = new Signal<this, unknown>(this);
  readonly sessionChanged = new Signal<this, unknown>(this);
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
    expect(seen.at(-1)).toEqual({ kind: 'no-kernel', name: 'a.ipynb' });
    context.session!.kernel = { id: 'k3', status: 'idle' };
    context.kernelChanged.emit(null);
    expect(seen.at(-1)).toMatchObject({ id: 'k3' });
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
          await new Promise((_, reject) => signal?.addEventListener('abort', () => reject(new Error('gone'))));
        }
        return kernel === KERNEL
          ? runs(since ? [] : lines(), {}, summary({ outcome: 'completed' }))
          : { ...runs([]), kernel_id: kernel, runs: [] };
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
    expect(devices.mock.calls.length).toBeGreaterThanOrEqual(3);
    expect(asked.map(([, since]) => since)).toEqual(['', `${model.run?.id}:13!`]);
    expect(asked[1]?.[2]).toBe(10);
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
