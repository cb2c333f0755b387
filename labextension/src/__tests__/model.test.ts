import { describe, expect, it } from 'vitest';

import type { RunEvent } from '../events';
import { Model } from '../model';
import { Run } from '../run';
import { MAX_ROWS, Track } from '../track';
import { TransportError } from '../transport';
import { devices, everyKind, finished, KERNEL, lines, picture, RUN, runs, session, summary } from './fixtures';

const HERE = { kind: 'kernel', name: 'a.ipynb', id: KERNEL, status: 'busy' } as const;
const OTHER = { ...HERE, id: 'another' } as const;

const { share } = everyKind()[0] as Extract<RunEvent, { event: 'SessionStarted' }>;

function samples(seq: number, t: number, value: number | null): RunEvent {
  return {
    event: 'SamplesTaken',
    seq,
    t_s: t,
    readings: [{ series: share, times_s: [t], values: [value] }]
  };
}

describe('a run', () => {
  it('is reduced from one event of each kind', () => {
    const run = new Run(RUN);
    for (const event of everyKind()) {
      expect(run.take(event)).toBe(true);
    }
    expect(run.seq).toBe(13);
    expect(run.share?.rows.map(row => row.high)).toEqual([0.4, null, 0.5, null]);
    expect(run.memory?.last).toBe(10 * 2 ** 30);
    expect(run.windows).toEqual([[0, 10]]);
    expect(run.missing.get('power_watts')).toEqual({ reason: 'no_permission', detail: 'code 4' });
    expect(run.gaps_s).toBe(1);
    expect(run.lost).toBeNull();
    expect(run.progress).toMatchObject({ done: 3, total: 10 });
    expect(run.marks.map(({ kind }) => kind)).toEqual(['epoch', 'settled']);
    expect(run.finished?.allocator?.framework).toBe('torch');
    expect(run.skipped).toBe(0);
  });

  it('takes nothing twice, and counts what never came', () => {
    const run = new Run(RUN);
    const events = everyKind();
    events.forEach(event => run.take(event));
    const rows = run.share?.rows.length;
    events.forEach(event => expect(run.take(event)).toBe(false));
    expect(run.share?.rows.length).toBe(rows);
    run.take(samples(20, 400, 0.5));
    expect(run.skipped).toBe(6);
  });

  it('keeps the judged metric of further devices apart, those that came first', () => {
    const run = new Run(RUN);
    run.take(everyKind()[0] as RunEvent);
    const event = samples(1, 1, 0.5) as Extract<RunEvent, { event: 'SamplesTaken' }>;
    const further = Array.from({ length: 9 }, (_, rank) => ({
      series: { ...share, device: `GPU-${rank}`, rank }, times_s: [1, 2], values: [0.1 * rank, 0.2]
    }));
    const other = { ...further[0]!, series: { ...further[0]!.series, metric: 'power_watts' as const } };
    run.take({ ...event, readings: [...event.readings, other, ...further] });
    expect([...run.further.keys()]).toEqual(further.slice(0, 7).map(one => one.series.device));
    expect(run.further.get('GPU-3')).toMatchObject({ device: 'GPU-3', rank: 3 });
    expect(run.further.get('GPU-3')?.track.rows.map(row => row.high)).toEqual([expect.closeTo(0.3), 0.2]);
    expect(run.share?.rows).toHaveLength(1);
    run.take({ event: 'SourceLost', seq: 2, t_s: 3, source: 'GPU-3', reason: 'device_lost', detail: '' });
    expect(run.further.get('GPU-3')?.track.rows.at(-1)?.high).toBeNull();
    expect(run.further.get('GPU-4')?.track.rows.at(-1)?.high).toBe(0.2);
    expect(run.share?.rows.at(-1)?.high).toBe(0.5);
  });

  it('restores further devices from the picture', () => {
    const run = new Run(RUN);
    const rows = { ...picture().series[0]!, device: 'GPU-far', rank: 4, times_s: [1], low: [0.1], high: [0.3] };
    run.restore(session(), picture({ series: [...picture().series, rows] }));
    expect(run.further.get('GPU-far')?.rank).toBe(4);
    expect(run.further.get('GPU-far')?.track.rows.map(row => row.high)).toEqual([0.3]);
  });

  it('ignores the readings of a device that is not judged', () => {
    const run = new Run(RUN);
    run.take(everyKind()[0] as RunEvent);
    const event = samples(1, 1, 0.5) as Extract<RunEvent, { event: 'SamplesTaken' }>;
    event.readings[0]!.series = { ...event.readings[0]!.series, device: 'GPU-other' };
    run.take(event);
    expect(run.share).toBeNull();
  });

  it('stays bounded over a day at 10 Hz, with its extremes kept', () => {
    const run = new Run(RUN, 3600);
    run.take(everyKind()[0] as RunEvent);
    for (let i = 1; i <= 864_000; i++) {
      run.take(samples(i, i / 10, i % 1000 === 0 ? 1 : 0.5));
    }
    const rows = run.share?.rows ?? [];
    expect(rows.length).toBeLessThanOrEqual(MAX_ROWS);
    expect(rows.length).toBeGreaterThan(MAX_ROWS / 3);
    expect(rows.filter(row => row.t >= 86_400 - 3000 && row.high === 1).length).toBeGreaterThan(20);
    expect((rows[0]?.t ?? 0) - 86_400).toBeGreaterThan(-2 * 3600);
  });
});

describe('a track', () => {
  it('keeps holes as holes', () => {
    const track = new Track(60);
    for (let i = 0; i < 2000; i++) {
      track.add(i / 100, i >= 1000 && i < 1100 ? null : 0.5);
    }
    expect(track.rows.some(row => row.high === null)).toBe(true);
    expect(track.rows.length).toBeLessThanOrEqual(MAX_ROWS);
  });

  it('takes no reading that is older than the newest', () => {
    const track = new Track(60);
    track.add(2, 0.5);
    track.add(1, 0.9);
    expect(track.rows).toEqual([{ t: 2, low: 0.5, high: 0.5 }]);
  });

  it('is bounded even where every other reading is missing', () => {
    const track = new Track(1e9);
    for (let i = 0; i < 5000; i++) {
      track.add(i, i % 2 ? null : 0.5);
    }
    expect(track.rows.length).toBeLessThanOrEqual(MAX_ROWS);
  });
});

describe('the model', () => {
  it('asks from the beginning, for the picture, and then for what is after it', () => {
    const model = new Model();
    model.setPlace(HERE);
    expect(model.cursor).toBe('');
    model.takeRuns(KERNEL, runs([]));
    expect(model.wanting).toBe(RUN);
    model.takePicture(session(), picture());
    expect(model.wanting).toBeNull();
    expect(model.cursor).toBe(`${RUN}:8`);
    expect(model.run?.share?.rows).toHaveLength(3);
    expect(model.run?.windows).toEqual([[0, 10]]);
    model.takeRuns(KERNEL, runs(lines().slice(1)));
    expect(model.cursor).toBe(`${RUN}:13`);
    expect(model.run?.finished?.outcome).toBe('completed');
  });

  it('says that a run’s end is known', () => {
    const model = new Model();
    model.setPlace(HERE);
    model.takeRuns(KERNEL, runs(lines(), {}, summary({ outcome: 'completed' })));
    expect(model.cursor).toBe(`${RUN}:13!`);
    expect(model.live).toBe(false);
  });

  it('says that no run is known', () => {
    const model = new Model();
    model.setPlace(HERE);
    model.takeRuns(KERNEL, { ...runs([]), runs: [], reason: 'none yet' });
    expect(model.cursor).toBe('-');
    expect(model.noRuns).toBe('none yet');
  });

  it('drops the answer about a former kernel, and what it knew of it', () => {
    const model = new Model();
    model.setPlace(HERE);
    model.takeRuns(KERNEL, runs(lines()));
    model.setPlace(OTHER);
    expect(model.run).toBeNull();
    model.takeRuns(KERNEL, runs(lines()));
    expect(model.runs).toEqual([]);
    expect(model.known).toBe(false);
  });

  it('keeps the run through a restart, which keeps the kernel’s id', () => {
    const model = new Model();
    model.setPlace(HERE);
    model.takeRuns(KERNEL, runs(lines().slice(0, 5)));
    model.setPlace({ ...HERE, status: 'restarting' });
    model.takeRuns(KERNEL, runs([], {}, summary({ outcome: 'lost' })));
    expect(model.run?.seq).toBe(4);
    expect(model.newest?.outcome).toBe('lost');
    expect(model.live).toBe(false);
  });

  it('keeps the last run of a kernel that has gone, until there is another kernel', () => {
    const model = new Model();
    model.setPlace(HERE);
    model.takeRuns(KERNEL, runs(lines().slice(0, 3)));
    model.setPlace({ kind: 'no-kernel', name: 'a.ipynb', was: KERNEL });
    expect(model.run?.seq).toBe(2);
    model.takeRuns(KERNEL, runs([], {}, summary({ outcome: 'lost' })));
    expect(model.newest?.outcome).toBe('lost');
    model.setPlace({ kind: 'no-kernel', name: 'b.ipynb' });
    expect(model.runs).toEqual([]);
  });

  it('shows a new run at once', () => {
    const model = new Model();
    model.setPlace(HERE);
    model.takeRuns(KERNEL, runs(lines(), {}, summary({ outcome: 'completed' })));
    const id = '20260102T030405Z-host-4242-a1b3';
    model.takeRuns(KERNEL, runs([{ ...(lines()[0] as object), session_id: id }], {}, summary({ session_id: id })));
    expect(model.run?.id).toBe(id);
    expect(model.runs.map(run => run.session_id)).toEqual([id, RUN]);
    expect(model.wanting).toBeNull();
  });

  it('asks for the picture anew where more has happened than is sent at a time', () => {
    const model = new Model();
    model.setPlace(HERE);
    model.takeRuns(KERNEL, runs(lines().slice(0, 5), { more: true }));
    expect(model.wanting).toBe(RUN);
    model.takePicture(session(), picture());
    expect(model.wanting).toBeNull();
    expect(model.run?.skipped).toBe(0);
  });

  it('never goes back to an older picture', () => {
    const model = new Model();
    model.setPlace(HERE);
    model.takeRuns(KERNEL, runs(lines()));
    model.takePicture(session({ finished: finished() }), picture({ seq: 3 }));
    expect(model.run?.seq).toBe(13);
  });

  it('keeps at most 20 runs', () => {
    const model = new Model();
    model.setPlace(HERE);
    for (let i = 0; i < 40; i++) {
      model.takeRuns(KERNEL, runs([], {}, summary({ session_id: `20250102T0304${10 + i}Z-host-1-a1b2` })));
    }
    expect(model.runs).toHaveLength(20);
    expect(model.newest?.session_id).toContain('T030449Z');
  });

  it('tolerates a hiccup, tells of the second, and recovers', () => {
    const model = new Model();
    model.setPlace(HERE);
    model.takeRuns(KERNEL, runs([]));
    const gone = new TransportError('unreachable', 0, 'no answer');
    model.failed('runs', gone, 1, 1000);
    expect(model.link.kind).toBe('connected');
    model.failed('runs', gone, 2, 2000);
    expect(model.link).toMatchObject({ kind: 'disconnected', message: 'no answer' });
    model.takeRuns(KERNEL, runs([]));
    expect(model.link.kind).toBe('connected');
  });

  it('is disconnected while one of its questions fails, whatever answers the other', () => {
    const model = new Model();
    model.setPlace(HERE);
    const gone = new TransportError('unreachable', 0, 'no answer');
    model.failed('devices', gone, 2, 2000);
    model.takeRuns(KERNEL, runs([]));
    expect(model.link.kind).toBe('disconnected');
    model.setDevices(devices());
    expect(model.link.kind).toBe('connected');
    model.failed('runs', gone, 2, 2000);
    expect(model.link.kind).toBe('disconnected');
    model.setPlace({ kind: 'nowhere' }); // nothing is asked about runs any more
    expect(model.link.kind).toBe('connected');
  });

  it.each(['missing', 'forbidden'] as const)('says at once that the routes are %s', kind => {
    const model = new Model();
    model.failed('devices', new TransportError(kind, 404, ''), 1, 1000);
    expect(model.link.kind).toBe(kind);
  });
});
