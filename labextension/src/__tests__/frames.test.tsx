import { describe, expect, it, vi } from 'vitest';

import { asFrame, Heard, IFrame } from '../frames';
import { Model } from '../model';
import { MAX_ROWS } from '../track';
import { answers, KERNEL, lines, runs, summary } from './fixtures';

vi.mock('@jupyterlab/services', () => ({ ServerConnection: {} }));
vi.mock('@jupyterlab/coreutils', () => ({ URLExt: {} }));

function frame(changed: Partial<IFrame> = {}): IFrame {
  return {
    kind: 'key',
    seq: 0,
    end: 2,
    share_from: 0,
    share: [[1, 10, 20], [2, 30, 40]],
    memory_from: 0,
    memory: [[1, 100]],
    target: null,
    finished: false,
    answer: answers()[0]!,
    ...changed
  };
}

function message(content: unknown, comm = 'c'): unknown {
  return {
    header: { msg_type: 'comm_msg' },
    content: { comm_id: comm, data: { method: 'custom', content } }
  };
}

describe('a kernel’s message', () => {
  it('is a frame of ours', () => {
    expect(asFrame(message(frame()))).toEqual({ comm: 'c', frame: frame() });
  });

  it.each([
    ['nothing', null],
    ['a status', { header: { msg_type: 'status' }, content: { execution_state: 'busy' } }],
    ['BokehJS', message({ kind: 'bokehjs' })],
    ['another widget’s', message({ kind: 'key', seq: 1 })],
    ['an answer that is none', message({ ...frame(), answer: 'so far' })],
    ['a row that is none', message({ ...frame(), share: [['x']] })],
    ['a trait', { header: { msg_type: 'comm_msg' }, content: { comm_id: 'c', data: { method: 'update' } } }]
  ])('or not: %s', (_, value) => {
    expect(asFrame(value)).toBeNull();
  });
});

describe('a run that is heard', () => {
  it('keeps the answer until there is another, and its details until the next whole frame', () => {
    const heard = new Heard('c', 0);
    heard.take(frame(), 0);
    heard.take(frame({ kind: 'delta', seq: 1, answer: null }), 0);
    expect(heard.answer).toEqual(answers()[0]);
    const { details, ...rest } = answers()[1]!;
    heard.take(frame({ kind: 'delta', seq: 2, answer: rest }), 0);
    expect(heard.answer).toEqual({ ...rest, details: answers()[0]!.details });
    expect(details).toBeDefined();
  });

  it('waits for a whole frame, and for the next one after a gap', () => {
    const heard = new Heard('c', 0);
    expect(heard.take(frame({ kind: 'delta', seq: 7 }), 0)).toBe(false);
    expect(heard.take(frame({ seq: 20 }), 0)).toBe(true);
    expect(heard.take(frame({ kind: 'delta', seq: 21, share_from: 1, share: [[2, 30, 50], [3, 0, 0]], memory_from: 1, memory: [] }), 0)).toBe(true);
    expect(heard.share).toEqual([[1, 10, 20], [2, 30, 50], [3, 0, 0]]);
    expect(heard.memory).toEqual([[1, 100]]);
    expect(heard.take(frame({ kind: 'delta', seq: 23 }), 0)).toBe(false);
    expect(heard.last?.seq).toBe(21);
  });

  it('is bounded, whatever is sent', () => {
    const heard = new Heard('c', 0);
    for (let seq = 0; seq < 2000; seq++) {
      const kind = seq ? 'delta' : 'key';
      heard.take(frame({ kind, seq, share_from: 1e9, share: [[seq, 0, 0]], memory_from: 1e9 }), seq);
    }
    expect(heard.share).toHaveLength(MAX_ROWS);
    expect(heard.share.at(-1)).toEqual([1999, 0, 0]);
    expect(heard.memory.length).toBeLessThanOrEqual(MAX_ROWS);
  });
});

describe('the model', () => {
  it('shows it only where the server has had the time to find a record and has none', () => {
    vi.useFakeTimers();
    const model = new Model();
    model.setPlace({ kind: 'kernel', name: 'a.ipynb', id: KERNEL, status: 'busy' });
    model.hear(message(frame()));
    vi.advanceTimersByTime(5000);
    model.hear(message(frame({ seq: 20 })));
    expect(model.heard).toBeNull(); // the server has not answered
    model.takeRuns(KERNEL, { ...runs([]), runs: [], reason: 'none here' });
    expect(model.heard?.last?.seq).toBe(20);
    model.hear(message(frame(), 'another'));
    expect(model.heard).toBeNull();
    vi.advanceTimersByTime(3000);
    expect(model.heard).toBeNull(); // one frame is no run without a record
    model.hear(message(frame({ seq: 20 }), 'another'));
    expect(model.heard?.comm).toBe('another');
    model.takeRuns(KERNEL, runs(lines().slice(0, 3)));
    expect(model.heard).toBeNull(); // a record after all
    model.hear(message(frame({ seq: 40 }), 'another'));
    model.takeRuns(KERNEL, runs([], {}, summary({ outcome: 'completed' })));
    model.hear(message(frame({ seq: 60, finished: true }), 'another'));
    vi.advanceTimersByTime(9000);
    expect(model.heard).toBeNull(); // its last message changes nothing
    for (const seq of [0, 20]) {
      model.hear(message(frame({ seq }), 'the disk is full'));
      vi.advanceTimersByTime(3000);
    }
    expect(model.heard?.comm).toBe('the disk is full'); // a later run, whose record was not written
    model.setPlace({ kind: 'kernel', name: 'b.ipynb', id: 'other', status: 'idle' });
    model.takeRuns('other', { ...runs([]), kernel_id: 'other', runs: [] });
    expect(model.heard).toBeNull();
    vi.useRealTimers();
  });
});
