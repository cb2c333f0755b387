import * as React from 'react';
import { act } from 'react';
import { describe, expect, it, vi } from 'vitest';

import type { IAnswer, Schemas } from '../api';
import type { Run } from '../run';
import { Compare } from '../views/compare';
import { Curve } from '../views/curve';
import { Devices } from '../views/devices';
import { Doctor } from '../views/doctor';
import { History } from '../views/history';
import { Running } from '../views/running';
import { Heard } from '../frames';
import { Model } from '../model';
import { TransportError } from '../transport';
import { statusText } from '../statustext';
import { button, host, press, show } from './rendered';
import { answers, api, devices, finished, KERNEL, lines, picture, props, RUN, runs, session, summary, words } from './fixtures';

vi.mock('@jupyterlab/services', () => ({ ServerConnection: {} }));
vi.mock('@jupyterlab/coreutils', () => ({ URLExt: {} }));
vi.mock('../chart', () => ({
  Chart: class {
    set() {}
    dispose() {}
  },
  seconds: (value: number) => `${value} s`
}));

const HERE = { kind: 'kernel', name: 'a.ipynb', id: KERNEL, status: 'busy' } as const;
function watching(events: unknown[], changed = {}, answer: IAnswer | null = answers()[1]!): Model {
  const model = new Model();
  model.setPlace(HERE);
  const run = summary(changed);
  model.takeRuns(KERNEL, runs(events, { runs: [{ run, events: events as never, answer }] }));
  return model;
}

describe('the devices', () => {
  const showing = (found: Parameters<Model['setDevices']>[0] | null) => {
    const model = new Model();
    if (found) {
      model.setDevices(found);
    }
    return show(<Devices {...props({ model })} />);
  };

  it('show use, memory, clients and users', async () => {
    const text = await showing(devices());
    expect(text).toContain('0: NVIDIA H200');
    expect(text).toContain('82 %');
    expect(text).toContain('3072 MiB of 140.0 GiB');
    expect(text).toContain('1 MPS client');
    expect(text).toContain('python3 (4242) · MPS · 1024 MiB');
    expect(host.querySelector('[role=meter]')?.getAttribute('aria-valuenow')).toBe('82');
  });

  it('say why a number is missing', async () => {
    const one = devices().devices[0]!;
    const reasons = { utilization_ratio: 'mig', memory_used_bytes: 'no_permission', processes: 'timed_out' } as const;
    const text = await showing(
      devices({
        devices: [{ ...one, utilization_ratio: null, memory_used_bytes: null, processes: null, reasons }]
      })
    );
    expect(text).toContain('not available on a MIG instance');
    expect(text).toContain('no permission to read it');
    expect(text).toContain('did not answer in time');
    expect(host.querySelector('[role=meter]')).toBeNull();
  });

  it.each(['no_driver', 'no_device', 'version_mismatch', 'wrong_pynvml', 'no_permission', 'device_lost', 'timed_out'] as const)(
    'none, because of %s: reason and next step',
    async reason => {
      const text = await showing(devices({ devices: [], reason }));
      expect(text.toLowerCase()).toContain(words.reason(reason).toLowerCase());
      expect(text).toContain(words.help(reason));
      expect(words.help(reason).length).toBeGreaterThan(10);
      button('Retry');
    }
  );

  it('loading', async () => {
    expect(await showing(null)).toContain('Loading');
  });
});

describe('the running view', () => {
  const showing = (model: Model) => show(<Running {...props({ model })} />);

  it.each([
    [{ kind: 'nowhere' }, 'No notebook or console is open', 'Open one'],
    [{ kind: 'no-kernel', name: 'a.ipynb' }, 'a.ipynb has no kernel', 'Change Kernel'],
    [{ ...HERE, status: 'restarting' }, 'restarting', 'stays in the history'],
    [HERE, 'Loading', '']
  ] as const)('empty at %j', async (place, why, next) => {
    const model = new Model();
    model.setPlace(place);
    const text = await showing(model);
    expect(text).toContain(why);
    expect(text).toContain(next);
  });

  it('a line for each device of several, by its name', async () => {
    const model = watching(lines().slice(0, 11));
    const run = model.run as Run;
    const share = run.started!.share;
    for (const rank of [1, null]) {
      const series = { ...share, device: `GPU-0000000${rank ?? 9}`, rank };
      run.take({
        event: 'SamplesTaken', seq: run.seq + 1, t_s: 20,
        readings: [{ series, times_s: [20], values: [rank ? 0.7 : 0.2] }]
      });
    }
    const text = await showing(model);
    expect(text).toContain('of each device');
    const drawn = [...host.querySelectorAll('[role=img]')].map(one => one.getAttribute('aria-label') ?? '');
    const each = drawn.find(one => one.includes('of each device')) ?? '';
    expect(each).toContain('rank 1 70 %');
    expect(each).toContain('GPU 00000009 20 %');
  });

  it('no run yet: how to begin, and the server’s reason', async () => {
    const model = new Model();
    model.setPlace(HERE);
    model.takeRuns(KERNEL, { ...runs([]), runs: [], reason: 'nothing was measured' });
    const text = await showing(model);
    expect(text).toContain('%%gpupredict');
    expect(text).toContain('nothing was measured');
  });

  it('the last run of a kernel that is gone, and how to get another', async () => {
    const model = watching(lines(), { outcome: 'lost' });
    model.setPlace({ kind: 'no-kernel', name: 'a.ipynb', was: KERNEL });
    const text = await showing(model);
    expect(text).toContain('The kernel is gone; this is its last run');
    expect(host.querySelector('.jp-GpuPredict-run')).not.toBeNull();
  });

  it('a run of which the server has no record: what the kernel tells, and what does not work', async () => {
    const model = new Model();
    model.setPlace(HERE);
    model.takeRuns(KERNEL, { ...runs([]), runs: [], reason: 'none here' });
    const heard = new Heard('c', 0);
    heard.take({
      kind: 'key', seq: 4, end: 2, share_from: 0, share: [[1, 10, 20], [2, 30, 40]],
      memory_from: 0, memory: [[1, 100]], target: 43, finished: false,
      answer: answers()[0]!
    }, 0);
    Object.defineProperty(model, 'heard', { value: heard });
    const text = (await showing(model)).replaceAll('\u00a0', ' ');
    for (const said of ['no record', answers()[0]!.headline, answers()[0]!.evidence]) {
      expect(text).toContain(said);
    }
    expect(host.querySelectorAll('figure')).toHaveLength(2);
  });

  it('a live run: the answer first, its details folded, charts with words, stop', async () => {
    const model = watching(lines().slice(0, 11));
    const answer = answers()[1]!;
    const stop = vi.fn();
    const given = props({ model });
    const text = await show(<Running {...given} actions={{ ...given.actions, stop }} />);
    const card = host.querySelector('.jp-GpuPredict-card') as HTMLElement;
    expect(card.dataset.tone).toBe(answer.tone);
    for (const said of [answer.sign, answer.headline, answer.word, answer.meaning, answer.evidence]) {
      expect(card.textContent?.replaceAll('\u00a0', ' ')).toContain(said);
    }
    expect(text).not.toContain(answer.details.usage[0]!.value);
    await press(button('Details'));
    for (const row of [...answer.details.usage, ...answer.details.memory, ...answer.details.measuring]) {
      expect(card.textContent).toContain(row.value);
      expect(card.textContent).toContain(row.help);
    }
    expect(card.textContent).toContain(answer.details.ids);
    const charts = [...host.querySelectorAll('[role=img]')];
    expect(charts).toHaveLength(2);
    expect(charts[0]?.getAttribute('aria-label')).toContain('highest 50 %');
    await press(button('Stop measuring'));
    expect(stop).toHaveBeenCalledWith(RUN);
  });

  it('what changes the figure’s meaning, and each device by what tells it apart', async () => {
    const device = {
      name: 'H100 80GB', index: 0, mig: '1g.10gb', uuid: 'MIG-1', ending: 'a1b2', share: '40 % of the time',
      memory: '7.9 GiB', word: 'settled', sign: '●', tone: 'good', rank: null, lost: false
    } as const;
    const two = [device, { ...device, uuid: 'MIG-2', ending: 'c3d4', rank: 1, lost: true }];
    const text = await showing(
      watching(lines().slice(0, 11), {}, { ...answers()[0]!, devices: two, notes: ['the clocks were held down'] })
    );
    expect(text).toContain('the clocks were held down');
    const rows = [...host.querySelectorAll('tbody th')].map(one => one.textContent);
    expect(rows).toEqual(['0 H100 80GB MIG 1g.10gb …a1b2', 'rank 1 0 H100 80GB MIG 1g.10gb …c3d4']);
    expect(text).toContain('settled, lost');
  });

  it('does what its buttons say', async () => {
    const earlier = summary({ session_id: 'earlier' });
    const sessions = vi.fn(async () => ({ sessions: [earlier], total: 2, searched: 2, before: null }));
    const answer = answers()[1]!;
    const sweep = { id: 'sweep', label: 'Sweep…', command: '%gpupredict sweep' } as const;
    const model = watching(lines().slice(0, 11), {}, { ...answer, actions: [...answer.actions, sweep] });
    const given = props({ model, api: api({ sessions }) });
    const offer = vi.fn();
    const openExport = vi.fn();
    await show(<Running {...given} actions={{ ...given.actions, offer, openExport }} />);
    await press(button('Sweep'));
    expect(offer).toHaveBeenCalledWith(sweep.command);
    await press(button('Export'));
    expect(openExport).toHaveBeenCalledWith(RUN);
    await press(button('Compare'));
    expect(sessions).toHaveBeenCalledWith(expect.stringMatching(/^[0-9a-f]+$/), RUN, 1);
    expect(host.querySelector('.jp-GpuPredict-compare')).not.toBeNull();
    await press(button('Back'));
    expect(host.querySelector('.jp-GpuPredict-card')).not.toBeNull();
  });

  it('stopping is said', async () => {
    const model = watching(lines().slice(0, 11));
    model.stopAsked(RUN);
    await showing(model);
    expect(button('Stopping').disabled).toBe(true);
  });

  it('a lost device, a lost kernel and a remote kernel are said', async () => {
    const text = await showing(watching(lines().slice(0, 6), { outcome: 'lost', remote: true, host: 'far' }));
    expect(text).toContain('the GPU is lost');
    expect(text).toContain('restarted or died');
    expect(text).toContain('runs on far');
  });

  it('no reading yet: the reason in place of a flat line', async () => {
    const text = await showing(watching([lines()[0]]));
    expect(text).toContain('no reading yet');
    expect(host.querySelector('[role=img]')).toBeNull();
  });
});

describe('what fewer SMs cost', () => {
  const need: Schemas['SmNeed'] = {
    sms: 108, low_sms: 30, high_sms: 44, speed_ratio: 0.9, kernels: 5200, by: 'torch.profiler', collective_sms: 0,
    windows: 3, watched_s: 3, cost_s: 0, not_understood_ratio: 0, earlier: false,
    curve: [[0, null, null], [25, 1.25, 2], [50, 1, 1.25], [100, 1, 1]]
  };

  it('is drawn between both ends, and told in words', async () => {
    await show(<Curve need={need} points={[]} words={words} />);
    const drawn = host.querySelector('svg[role=img]')!;
    expect(drawn.getAttribute('aria-label')).toBe(
      '28 % to 41 % of the SMs keep 90 % of the speed, by kernel geometry'
    );
    // three known shares there at the better speeds, and back at the worse ones
    const points = drawn.querySelector('polygon')!.getAttribute('points')!.split(' ');
    expect(points).toHaveLength(6);
    const heights = points.map(one => Number(one.split(',')[1]));
    expect(heights[0]).toBeLessThan(heights[5]!); // faster is higher
    expect(heights[1]).toBe(heights[2]); // full speed from half of the SMs on
    expect(points.join(' ')).not.toContain('NaN');
  });

  it('has what SM activity says and what was verified on it', async () => {
    await show(
      <Curve
        need={need}
        points={[
          { share_ratio: 0.36, speed_ratio: 0.88, method: 'gpm' },
          { share_ratio: 0.75, speed_ratio: 0.5, method: 'verified' }
        ]}
        words={words}
      />
    );
    const circles = [...host.querySelectorAll('circle')].map(one => [
      Number(one.getAttribute('cx')), Number(one.getAttribute('cy'))
    ]);
    expect(circles).toHaveLength(2);
    expect(circles[0]![0]).toBeLessThan(circles[1]![0]!);
    expect(circles[0]![1]).toBeLessThan(circles[1]![1]!); // faster is higher
    expect(host.textContent).toContain('SM activity: 36 % keep 88 %; verified: 75 % keep 50 %');
  });

  it('is left out where no slowdown is known', async () => {
    await show(<Curve need={{ ...need, curve: [[0, null, null], [100, 1, 1]] }} points={[]} words={words} />);
    expect(host.querySelector('svg')).toBeNull();
  });

  it('stands with its run, where the answer has it', async () => {
    const card = () => host.querySelector('.jp-GpuPredict-curve');
    const told: IAnswer = {
      ...answers()[1]!, need, points: [{ share_ratio: 0.3, speed_ratio: 0.9, method: 'verified' }]
    };
    await show(<Running {...props({ model: watching(lines(), {}, told) })} />);
    expect(card()!.querySelectorAll('circle')).toHaveLength(1);
    await show(<Running {...props({ model: watching(lines(), {}, { ...told, need: null }) })} />);
    expect(card()).toBeNull();
  });
});

describe('a chart’s table', () => {
  it('has the extremes of each stretch', async () => {
    const model = watching(lines().slice(0, 2));
    await show(<Running {...props({ model })} />);
    const details = host.querySelector('figure details') as HTMLDetailsElement;
    await act(async () => {
      details.open = true;
      details.dispatchEvent(new Event('toggle'));
    });
    expect(details.textContent).toContain('40 %');
    expect(details.textContent).toContain('no reading');
  });
});

describe('the status item', () => {
  it('is there only while a run is live', () => {
    expect(statusText(new Model(), words)).toBeNull();
    expect(statusText(watching(lines(), { outcome: 'completed' }), words)).toBeNull();
    const text = statusText(watching(lines().slice(0, 11)), words);
    expect(text?.text).toBe('GPU 50 % · settled');
    expect(text?.title).toContain(answers()[1]!.headline);
  });
});

async function choose(control: HTMLSelectElement, value: string): Promise<void> {
  await act(async () => {
    control.value = value;
    control.dispatchEvent(new Event('change', { bubbles: true }));
  });
}

describe('the history', () => {
  const two = [
    summary({ outcome: 'completed' }),
    summary({ session_id: '20240102T030405Z-host-1-a1b2', started_at: '2024-01-02T03:04:05+00:00' })
  ];

  it('lists, pages, and compares two', async () => {
    const asked: (string | null)[] = [];
    const server = api({
      sessions: async (_query, before) => {
        asked.push(before);
        return before
          ? { sessions: [two[1]!], total: 2, searched: 2, before: null }
          : { sessions: [two[0]!], total: 2, searched: 2, before: RUN };
      }
    });
    let text = await show(<History {...props({ api: server })} />);
    expect(text).toContain('1 of 2 runs');
    await press(button('More runs'));
    expect(asked).toEqual([null, RUN]);
    expect(host.querySelectorAll('li')).toHaveLength(2);
    for (const box of host.querySelectorAll<HTMLInputElement>('input[type=checkbox]')) {
      await press(box);
    }
    await press(button('Compare (2 of 2)'));
    text = host.textContent ?? '';
    expect(text).toContain(answers()[0]!.headline);
    expect(text).toContain(answers()[0]!.details.memory[0]!.value);
    await press(button('Back to the list'));
    expect(host.querySelectorAll('li').length).toBeGreaterThan(0);
  });

  it('tells how long the current run has been running, without asking again', async () => {
    const sessions = vi.fn(async () => ({ sessions: [summary({ duration_s: 10 })], total: 1, searched: 1, before: null }));
    const model = watching(lines().slice(0, 2), { duration_s: 10 });
    const server = api({ sessions });
    expect(await show(<History {...props({ api: server, model })} />)).toContain('running for 10 s');
    model.takeRuns(KERNEL, runs([], { runs: [{ run: summary({ duration_s: 33 }), events: [], answer: null }] }));
    expect(await show(<History {...props({ api: server, model })} />)).toContain('running for 33 s');
    expect(sessions).toHaveBeenCalledTimes(1);
  });

  it('has the server order and filter all runs, and asks on until it has looked at them', async () => {
    const asked: unknown[][] = [];
    const server = api({
      sessions: async (...how) => {
        asked.push(how);
        const searched = asked.length < 4 ? 1 : 2;
        return { sessions: two.slice(0, searched), total: 2, searched, before: null };
      }
    });
    await show(<History {...props({ api: server })} />);
    expect(asked).toEqual(Array(4).fill(['', null, 200, 'when', '']));
    const [by, only] = [...host.querySelectorAll('select')] as HTMLSelectElement[];
    await choose(by!, 'duration');
    await choose(only!, 'settled');
    expect(asked.at(-1)).toEqual(['', null, 200, 'duration', 'settled']);
    expect(host.querySelectorAll('li')).toHaveLength(2);
  });

  it('draws a part of a long run at once', async () => {
    let answers = 0;
    const server = api({
      sessions: async () => ({ sessions: [two[0]!], total: 1, searched: 1, before: null }),
      session: async () => session({ session: two[0]!, finished: finished() }),
      picture: () =>
        answers++ ? new Promise<never>(() => undefined) : Promise.resolve(picture({ complete: false }))
    });
    await show(<History {...props({ api: server })} />);
    await press(host.querySelector('.jp-GpuPredict-item') as HTMLElement);
    expect(host.textContent).toContain('the rest is being read');
    expect(host.querySelector('figure')).not.toBeNull();
  });

  it('asks until all of a long run is read', async () => {
    let answers = 0;
    const server = api({
      sessions: async () => ({ sessions: [two[0]!], total: 1, searched: 1, before: null }),
      session: async () => session({ session: two[0]!, finished: finished() }),
      picture: async () => picture({ outcome: 'completed', seq: 12, complete: ++answers === 4 })
    });
    await show(<History {...props({ api: server })} />);
    await press(host.querySelector('.jp-GpuPredict-item') as HTMLElement);
    expect(host.querySelector('.jp-GpuPredict-run')?.getAttribute('data-outcome')).toBe('completed');
    expect(answers).toBe(4);
    expect(host.textContent).not.toContain('is being read');
  });

  it('opens one run, whole', async () => {
    const server = api({
      sessions: async () => ({ sessions: [two[0]!], total: 1, searched: 1, before: null }),
      session: async () => session({ session: two[0]!, finished: finished() }),
      picture: async () => picture({ outcome: 'completed', seq: 13 })
    });
    await show(<History {...props({ api: server })} />);
    await press(host.querySelector('.jp-GpuPredict-item') as HTMLElement);
    expect(host.querySelector('.jp-GpuPredict-run')?.getAttribute('data-outcome')).toBe('completed');
    button('Export');
  });

  it('searches when the typing ends', async () => {
    vi.useFakeTimers();
    const sessions = vi.fn(async (query: string) => ({
      sessions: query ? [] : [two[0]!],
      total: 1,
      searched: 1,
      before: null
    }));
    await show(<History {...props({ api: api({ sessions }) })} />);
    const input = host.querySelector('input[type=search]') as HTMLInputElement;
    await act(async () => {
      Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value')?.set?.call(input, 'a100');
      input.dispatchEvent(new Event('input', { bubbles: true }));
    });
    expect(sessions).toHaveBeenCalledTimes(1);
    await act(async () => {
      await vi.advanceTimersByTimeAsync(400);
    });
    expect(sessions).toHaveBeenLastCalledWith('a100', null, 200, 'when', '');
    expect(host.textContent).toContain('No run matches “a100”');
  });

  it('shows notebook, code, device and headline, pinned ones first', async () => {
    const runs = [
      summary({ session_id: 'c', headline: 'third', duration_s: 5 }),
      summary({ session_id: 'b', headline: 'second', duration_s: 50, word: 'settled' }),
      summary({ session_id: 'a', name: 'baseline', pinned: true })
    ];
    const sessions = async () => ({ sessions: runs, total: 3, searched: 3, before: null });
    await show(<History {...props({ api: api({ sessions }) })} />);
    const order = () => [...host.querySelectorAll('li')].map(one => one.dataset.run);
    expect(order()).toEqual(['a', 'c', 'b']);
    const first = host.querySelectorAll('li')[1]?.textContent;
    for (const said of ['third', 'train(model, epochs=10)', 'train.ipynb', 'H200']) {
      expect(first).toContain(said);
    }
  });

  it('names, pins and deletes a run, and brings it back', async () => {
    const one = summary({ outcome: 'completed' });
    const sessions = vi.fn(async () => ({ sessions: [one], total: 1, searched: 1, before: null }));
    const label = vi.fn(async () => one);
    const discard = vi.fn(async () => undefined);
    const restore = vi.fn(async () => one);
    const notify = vi.fn();
    const goTo = vi.fn();
    const server = api({ sessions, label, discard, restore, session: async () => session({ session: one }) });
    const given = props({ api: server });
    await show(<History {...given} actions={{ ...given.actions, notify, goTo }} />);
    await press(host.querySelector('.jp-GpuPredict-item') as HTMLElement);
    await press(button('Pin'));
    expect(label).toHaveBeenCalledWith(RUN, { pinned: true });
    button('Pinned');
    await press(button('Open its cell'));
    expect(goTo).toHaveBeenCalledWith('work/train.ipynb', 'a1b2c3d4');
    await press(button('Delete'));
    expect(discard).toHaveBeenCalledWith(RUN);
    expect(host.querySelectorAll('li')).toHaveLength(1);
    const before = sessions.mock.calls.length;
    await act(async () => notify.mock.calls[0]![1].callback());
    expect(restore).toHaveBeenCalledWith(RUN);
    expect(sessions.mock.calls.length).toBeGreaterThan(before);
  });

  it('nothing measured yet: how to begin', async () => {
    const sessions = async () => ({ sessions: [], total: 0, searched: 0, before: null });
    expect(await show(<History {...props({ api: api({ sessions }) })} />)).toContain('%%gpupredict');
  });

  it('a failure is said, and can be tried again', async () => {
    let failing = true;
    const sessions = async () => {
      if (failing) {
        throw new TransportError('failed', 500, 'the disk is gone', 'look at it');
      }
      return { sessions: [two[0]!], total: 1, searched: 1, before: null };
    };
    const text = await show(<History {...props({ api: api({ sessions }) })} />);
    expect(text).toContain('the disk is gone');
    expect(text).toContain('look at it');
    failing = false;
    await press(button('Retry'));
    expect(host.textContent).toContain('1 of 1 runs');
  });
});

describe('two runs', () => {
  it('of different metrics are not set against each other silently', async () => {
    const server = api({
      session: async id =>
        session({
          session: summary({ session_id: id }),
          started: {
            ...session().started,
            share: { ...session().started.share, metric: id === 'b' ? 'sm_active_ratio' : 'gpu_util_ratio' }
          }
        })
    });
    const text = await show(<Compare {...props({ api: server })} ids={['a', 'b']} />);
    expect(text).toContain('different metrics');
  });
});

describe('the checks', () => {
  const line = { name: 'python', works: true, found: '3.12', fix: '', detail: '', level: 'ok' } as const;
  const looking = (...lines: Partial<typeof line>[] | object[]) =>
    api({
      doctor: async () => ({
        works: !JSON.stringify(lines).includes('fails'),
        lines: [line, ...lines.map(one => ({ ...line, ...one }))]
      })
    });

  it('are green while nothing that is needed fails; what a library says is folded', async () => {
    const off = { name: 'source nvml', works: false, found: 'No NVIDIA driver on this server', detail: 'NVML: 12', level: 'off' };
    const text = await show(<Doctor {...props({ api: looking(off) })} />);
    expect(text).toContain('All that is needed works');
    expect(host.querySelector('[data-tone=good][role=status]')).not.toBeNull();
    expect(host.querySelector('td details')?.textContent).toContain('NVML: 12');
    expect(host.querySelector('td details')?.hasAttribute('open')).toBe(false);
  });

  it('say what fails and what helps', async () => {
    const failed = { name: 'store', works: false, found: 'the disk is full', fix: 'make room', level: 'fails' };
    const copy = vi.fn();
    const given = props({ api: looking(failed) });
    const text = await show(<Doctor {...given} actions={{ ...given.actions, copy }} />);
    expect(text).toContain('does not work');
    expect(text).toContain('make room');
    await press(button('Copy'));
    expect(copy).toHaveBeenCalledWith('ok python: 3.12\nfails store: the disk is full -> make room');
  });
});
