import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { backoff, Loop } from '../loop';

vi.mock('@jupyterlab/services', () => ({ ServerConnection: {} }));
vi.mock('@jupyterlab/coreutils', () => ({ URLExt: {} }));
const { Transport, TransportError } = await import('../transport');

function answering(status: number, body: string) {
  const asked: [string, RequestInit][] = [];
  const transport = new Transport(async (path, init) => {
    asked.push([path, init]);
    return new Response(body, { status });
  });
  return { asked, transport };
}

describe('the routes', () => {
  it('are asked below one another', async () => {
    const { asked, transport } = answering(200, '{}');
    await transport.runs('k 1', 'r:4', 10);
    await transport.runs('k', '', 10);
    await transport.sessions('h200 lost', 'r', 50);
    await transport.sessions('', null, 50, 'device', 'settled');
    await transport.export('r', { preview: true, workload: 'job', sharing: 'mps', name: 'train' });
    expect(asked.map(([path]) => path)).toEqual([
      'kernels/k%201/runs?since=r%3A4&wait=10',
      'kernels/k/runs',
      'sessions?limit=50&q=h200+lost&before=r',
      'sessions?limit=50&order=device&word=settled',
      'sessions/r/export'
    ]);
    expect(asked[4]?.[1]).toMatchObject({
      method: 'POST',
      body: '{"preview":true,"workload":"job","sharing":"mps","name":"train"}'
    });
  });

  it('take a recording by its path or as it is, and none that is too long', async () => {
    const { asked, transport } = answering(200, '{"sessions": []}');
    await transport.keep({ path: 'logs/a b.csv' }, { device: '1' });
    const file = new File(['x'], 'c.csv');
    await transport.keep({ file }, { interval_s: 2 });
    expect(asked.map(([path]) => path)).toEqual([
      'recordings?device=1&path=logs%2Fa+b.csv',
      'recordings?interval_s=2&name=c.csv'
    ]);
    expect(asked[0]?.[1].body).toBeUndefined();
    expect(asked[1]?.[1]).toMatchObject({ method: 'POST', body: file });
    Object.defineProperty(file, 'size', { value: 2 ** 40 });
    await expect(transport.keep({ file }, {})).rejects.toMatchObject({ failure: 'refused' });
    expect(asked).toHaveLength(2);
  });

  it.each([
    [404, '<html>', 'missing'],
    [404, '{"message": "Not Found", "reason": null}', 'missing'],
    [404, '{"message": "no such kernel", "hint": "look", "reason": ""}', 'refused'],
    [422, '{"message": "no", "hint": "insist", "reason": ""}', 'refused'],
    [403, '{"message": "Forbidden"}', 'forbidden'],
    [200, '<html>the login page</html>', 'forbidden'],
    [502, 'bad gateway', 'unreachable'],
    [503, '{"message": "busy", "hint": "", "reason": ""}', 'unreachable'],
    [500, '{"message": "oops"}', 'failed']
  ])('%i %s is told as %s', async (status, body, failure) => {
    const { transport } = answering(status, body);
    const error = await transport.doctor().catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(TransportError);
    expect(error).toMatchObject({ failure, status });
  });

  it('keep the server’s words', async () => {
    const { transport } = answering(409, '{"message": "files are there", "hint": "overwrite", "reason": ""}');
    await expect(transport.status()).rejects.toMatchObject({ message: 'files are there', hint: 'overwrite' });
  });

  it('no answer is unreachable', async () => {
    const transport = new Transport(() => Promise.reject(new TypeError('Failed to fetch')));
    await expect(transport.status()).rejects.toMatchObject({ failure: 'unreachable', message: 'Failed to fetch' });
  });
});

describe('a stream of answers', () => {
  function streaming(chunks: string[], init: ResponseInit = {}, broken = false) {
    const asked: string[] = [];
    const bytes = new TextEncoder();
    const transport = new Transport(async path => {
      asked.push(path);
      const body = new ReadableStream<Uint8Array>({
        start: control => chunks.forEach(one => control.enqueue(bytes.encode(one))),
        pull: control => (broken ? control.error(new TypeError('network error')) : control.close())
      });
      return new Response(body, { headers: { 'Content-Type': 'application/x-ndjson' }, ...init });
    });
    const seen: unknown[] = [];
    const follow = (enough = Infinity) =>
      transport.follow('k 1', 'r:4', { stream_s: 60, devices: true }, reply => seen.push(reply) < enough, new AbortController().signal);
    return { asked, seen, follow };
  }

  it('is read line by line, however it is cut', async () => {
    const { asked, seen, follow } = streaming(['{"a": 1}\n{"b"', ': 2', '}\n\n{"torn": ']);
    await follow();
    expect(asked).toEqual(['kernels/k%201/runs?since=r%3A4&stream=60&devices=1']);
    expect(seen).toEqual([{ a: 1 }, { b: 2 }]);
  });

  it('ends when the reader has enough', async () => {
    const { seen, follow } = streaming(['{"a": 1}\n{"b": 2}\n']);
    await follow(1);
    expect(seen).toEqual([{ a: 1 }]);
  });

  it('that breaks is unreachable, after what came before', async () => {
    const { seen, follow } = streaming(['{"a": 1}\n'], {}, true);
    await expect(follow()).rejects.toMatchObject({ failure: 'unreachable', message: 'network error' });
    expect(seen).toEqual([{ a: 1 }]);
  });

  it('that is refused, or is another page, is told', async () => {
    const no = streaming(['{"message": "no such kernel", "hint": "", "reason": ""}'], { status: 404, headers: {} });
    await expect(no.follow()).rejects.toMatchObject({ failure: 'refused', message: 'no such kernel' });
    const login = streaming(['<html>'], { headers: { 'Content-Type': 'text/html' } });
    await expect(login.follow()).rejects.toMatchObject({ failure: 'forbidden' });
  });
});

describe('the waiting time after failures', () => {
  it('doubles from 1 to 30 s and is spread', () => {
    const longest = [1, 2, 3, 4, 5, 6, 50].map(count => backoff(count, () => 1));
    expect(longest).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    const shortest = [1, 2, 3, 6].map(count => backoff(count, () => 0));
    expect(shortest).toEqual([1000, 1000, 2000, 15_000]);
  });
});

describe('the loop', () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => vi.useRealTimers());

  function looping(answers: (number | Error)[]) {
    let hidden = false;
    const failures: number[] = [];
    const task = vi.fn(async (_signal: AbortSignal) => {
      const next = answers.shift() ?? 1000;
      if (next instanceof Error) {
        throw next;
      }
      return next;
    });
    const loop = new Loop({
      task,
      standby: () => hidden,
      failed: (_error, _count, retry_ms) => failures.push(retry_ms),
      random: () => 1
    });
    return { loop, task, failures, hide: (value: boolean) => (hidden = value) };
  }

  it('asks at the pace that the answers wish', async () => {
    const { loop, task } = looping([0, 500, 2000]);
    loop.start();
    await vi.advanceTimersByTimeAsync(0);
    await vi.advanceTimersByTimeAsync(499);
    expect(task).toHaveBeenCalledTimes(2);
    await vi.advanceTimersByTimeAsync(2);
    expect(task).toHaveBeenCalledTimes(3);
    loop.dispose();
  });

  it('waits longer after each failure, and no longer after an answer', async () => {
    const { loop, task, failures } = looping([new Error('a'), new Error('b'), new Error('c'), 50]);
    loop.start();
    await vi.advanceTimersByTimeAsync(7100);
    expect(failures).toEqual([1000, 2000, 4000]);
    expect(task).toHaveBeenCalledTimes(5);
    loop.dispose();
  });

  it('rests while hidden, and goes on when it is seen again', async () => {
    const { loop, task, hide } = looping([10, 10]);
    hide(true);
    loop.start();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(task).not.toHaveBeenCalled();
    expect(loop.resting).toBe(true);
    hide(false);
    loop.poke();
    await vi.advanceTimersByTimeAsync(0);
    expect(task).toHaveBeenCalledTimes(1);
    hide(true);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(task).toHaveBeenCalledTimes(1);
    loop.dispose();
  });

  it('drops a question that is no longer wanted', async () => {
    const signals: AbortSignal[] = [];
    const failed = vi.fn();
    const loop = new Loop({
      task: signal => {
        signals.push(signal);
        return new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('gone'))));
      },
      standby: () => false,
      failed
    });
    loop.start();
    await vi.advanceTimersByTimeAsync(0);
    loop.poke(); // one question at a time
    await vi.advanceTimersByTimeAsync(0);
    expect(signals).toHaveLength(1);
    loop.restart();
    await vi.advanceTimersByTimeAsync(0);
    expect(signals.map(signal => signal.aborted)).toEqual([true, false]);
    loop.dispose();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(signals).toHaveLength(2);
    expect(failed).not.toHaveBeenCalled();
  });
});
