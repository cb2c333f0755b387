import * as React from 'react';
import { act } from 'react';
import { createRoot, Root } from 'react-dom/client';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { IExportRequest, SCHEMAS } from '../api';
import type { IRecommendation } from '../events';
import type { ISource } from '../notebook';
import type { Run } from '../run';
import { asName, ExportForm } from '../views/export';
import { asLabels, asNames, OPTION_NAMES } from '../views/options';
import { Compare } from '../views/compare';
import { Devices } from '../views/devices';
import { Doctor } from '../views/doctor';
import { History } from '../views/history';
import { Running } from '../views/running';
import { Heard } from '../frames';
import { Model } from '../model';
import { TransportError } from '../transport';
import { statusText } from '../statustext';
import type { IViewProps } from '../views/view';
import { api, devices, finished, KERNEL, lines, picture, props, RUN, runs, session, summary, words } from './fixtures';

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
let host: HTMLElement;
let root: Root;

beforeEach(() => {
  (globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true;
  host = document.body.appendChild(document.createElement('div'));
  root = createRoot(host);
});

afterEach(() => {
  act(() => root.unmount());
  host.remove();
  vi.useRealTimers();
});

async function show(element: React.ReactElement): Promise<string> {
  await act(async () => root.render(element));
  return host.textContent ?? '';
}

function button(text: string): HTMLButtonElement {
  const found = [...host.querySelectorAll('button')].find(one => one.textContent?.includes(text));
  expect(found, `a button ${text}`).toBeDefined();
  return found as HTMLButtonElement;
}

async function press(element: HTMLElement): Promise<void> {
  await act(async () => element.click());
}

function watching(events: unknown[], changed = {}): Model {
  const model = new Model();
  model.setPlace(HERE);
  model.takeRuns(KERNEL, runs(events, {}, summary(changed)));
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

  it('each rank of a distributed run by its name, the first eight of them', async () => {
    const model = watching(lines().slice(0, 11));
    const main = model.run?.recommendation as IRecommendation;
    const ranks = Array.from({ length: 10 }, (_, rank) => ({
      ...main, device: `GPU-0000000${rank}`, rank: rank < 9 ? rank : null, lost: rank === 1
    }));
    (model.run as Run).others = [ranks[9] as IRecommendation, ...ranks.slice(0, 9)];
    const text = await showing(model);
    expect(text).toContain('beside it: GPU 00000009: 43 %');
    expect(text).toContain('beside it: rank 0: 43 %');
    expect(text).toContain('(converged); lost: its figures end there');
    expect(text).not.toContain('rank 7');
    expect(text).toContain('and 2 more');
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

  it('what verification has found, in the server’s words', async () => {
    const model = watching(lines());
    model.run?.restore(
      session({
        verified: {
          percent: 40, speed_ratio: 0.97, low_ratio: 0.96, high_ratio: 0.98, method: 'verify', at: '',
          text: '40 % of the SMs keep 97 % of the speed'
        }
      }),
      picture({ seq: 99 })
    );
    expect(await showing(model)).toContain('verified: 40 % of the SMs keep 97 % of the speed');
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
      memory_from: 0, memory: [[1, 100]], target: 43, state: 'converged', finished: false,
      label: 'NVIDIA H200, read by nvml', headline: '43 % covers', detail: 'detail', problem: ''
    }, 0);
    Object.defineProperty(model, 'heard', { value: heard });
    const text = await showing(model);
    for (const said of ['no record', '43 % covers', 'Not from here: stop', 'read by nvml', 'running for 2 s']) {
      expect(text).toContain(said);
    }
    expect(host.querySelectorAll('figure')).toHaveLength(2);
  });

  it('a share of the SMs beside a share of the time, each by its name', async () => {
    await showing(watching(lines().slice(0, 11)));
    expect(host.querySelector('.jp-GpuPredict-headline')?.textContent).toContain(
      '43 % busy time (time share)'
    );
    const beside = [...host.querySelectorAll('.jp-GpuPredict-headline ~ p')].map(p => p.textContent);
    expect(beside).toContain('beside it: 25 % SM share while busy covers 95 % of the time (converged)');
  });

  it('a capped run: that it is one, in words', async () => {
    const capped = lines()
      .slice(0, 11)
      .map(line => JSON.stringify(line).replace('"capped":false', '"capped":true'))
      .map(line => JSON.parse(line) as unknown);
    const text = await showing(watching(capped));
    expect(text).toContain('no prediction: the run was capped by MPS');
    expect(host.querySelector('.jp-GpuPredict-headline + .jp-GpuPredict-warning')).not.toBeNull();
  });

  it('a live run: prediction, figures, charts with words, stop', async () => {
    const model = watching(lines().slice(0, 11));
    const stop = vi.fn();
    const given = props({ model });
    const text = await show(<Running {...given} actions={{ ...given.actions, stop }} />);
    expect(text).toContain('43 % busy time (time share) covers 95 % of the time (converged)');
    expect(text).toContain('NVIDIA H200, read by nvml');
    expect(text).toContain('epoch 3 of 10');
    expect(text).toContain('power: no permission to read it (code 4)');
    const charts = [...host.querySelectorAll('[role=img]')];
    expect(charts).toHaveLength(2);
    expect(charts[0]?.getAttribute('aria-label')).toContain('highest 50 %');
    await press(button('Stop measuring'));
    expect(stop).toHaveBeenCalledWith(RUN);
    expect(button('Export').disabled).toBe(true);
  });

  it('stopping is said', async () => {
    const model = watching(lines().slice(0, 11));
    model.stopAsked(RUN);
    await showing(model);
    expect(button('Stop asked for').disabled).toBe(true);
  });

  it('an ended run: outcome, own cost, export', async () => {
    const model = watching(lines(), { outcome: 'completed' });
    const text = await showing(model);
    expect(text).toContain('completed after 7 min');
    expect(text).toContain('at most 9216 MiB in tensors');
    expect(button('Export').disabled).toBe(false);
    expect(text).not.toContain('Stop measuring');
  });

  it('a lost device, a lost kernel, a remote kernel and simulated readings are said', async () => {
    const started = { ...(lines()[0] as object), simulated: true, origin: 'steps' };
    const model = watching([started, ...lines().slice(1, 6)], { outcome: 'lost', remote: true, host: 'far' });
    const text = await showing(model);
    expect(text).toContain('the GPU is lost');
    expect(text).toContain('restarted or died');
    expect(text).toContain('runs on far');
    expect(text).toContain('SIMULATED');
  });

  it('no reading yet: the reason in place of a flat line', async () => {
    const text = await showing(watching([lines()[0]]));
    expect(text).toContain('no reading yet');
    expect(host.querySelector('[role=img]')).toBeNull();
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
    expect(text?.text).toBe('GPU 50 % · cov 98 %');
    expect(text?.title).toContain('covers 95 %');
  });
});

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
    await press(button('Older runs'));
    expect(asked).toEqual([null, RUN]);
    expect(host.querySelectorAll('li')).toHaveLength(2);
    for (const box of host.querySelectorAll<HTMLInputElement>('input[type=checkbox]')) {
      await press(box);
    }
    await press(button('Compare (2 of 2)'));
    text = host.textContent ?? '';
    expect(text).toContain('memory peak');
    await press(button('Back to the list'));
    expect(host.querySelectorAll('li').length).toBeGreaterThan(0);
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
    expect(host.textContent).toContain('completed after 7 min');
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
    expect(host.textContent).toContain('completed after 7 min');
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
    expect(sessions).toHaveBeenLastCalledWith('a100', null, 50);
    expect(host.textContent).toContain('No run matches “a100”');
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
  it('say what helps', async () => {
    const server = api({
      doctor: async () => ({
        works: false,
        lines: [
          { name: 'python', works: true, found: '3.12', fix: '' },
          { name: 'source nvml', works: false, found: 'no driver', fix: 'install it' }
        ]
      })
    });
    const copy = vi.fn();
    const given = props({ api: server });
    const text = await show(<Doctor {...given} actions={{ ...given.actions, copy }} />);
    expect(text).toContain('What helps: install it');
    await press(button('Copy'));
    expect(copy).toHaveBeenCalledWith('ok python: 3.12\nNO source nvml: no driver -> install it');
  });
});

describe('the export form', () => {
  const files = {
    preview: true,
    output: 'exports/train',
    paths: [],
    texts: { 'README.md': 'read me', 'deploy/job.yaml': 'kind: Job' },
    warnings: ['the run was short']
  };
  const form = (changed: Partial<IViewProps['api']>, copy = vi.fn(), source: ISource | null = null) => (
    <ExportForm api={api(changed)} run={RUN} name="train" source={source} words={words} copy={copy} />
  );
  const cell = { source: 'train()', execution_count: 3, tags: [], failed: false };
  const notebook = { path: 'work/a.ipynb', own: true, cells: () => [cell] };

  /** The control whose label has this text. */
  function control(text: string): HTMLInputElement {
    const found = [...host.querySelectorAll('label')].find(one => one.textContent?.includes(text));
    expect(found, `a control ${text}`).toBeDefined();
    return found!.querySelector('input, select') as HTMLInputElement;
  }

  async function enter(input: HTMLInputElement, value: string): Promise<void> {
    await act(async () => {
      Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value')?.set?.call(input, value);
      input.dispatchEvent(new Event('input', { bubbles: true }));
    });
  }

  async function settled(): Promise<void> {
    await act(async () => {
      await vi.advanceTimersByTimeAsync(500);
    });
  }

  it('previews the manifest first, with its warnings, and copies it', async () => {
    vi.useFakeTimers();
    const copy = vi.fn();
    await show(form({ export: async () => files }, copy));
    await settled();
    expect(host.querySelector('pre')?.textContent).toBe('kind: Job');
    expect(host.textContent).toContain('the run was short');
    await press(button('Copy'));
    expect(copy).toHaveBeenCalledWith('kind: Job');
  });

  it('asks for the workload’s default until another backend is chosen', async () => {
    vi.useFakeTimers();
    const preview = vi.fn(async () => files);
    await show(form({ export: preview }));
    await settled();
    const [, sharing] = host.querySelectorAll('select');
    expect(sharing?.value).toBe('mps');
    expect(preview).toHaveBeenLastCalledWith(RUN, expect.not.objectContaining({ sharing: expect.anything() }));
    await act(async () => {
      sharing!.value = 'none';
      sharing!.dispatchEvent(new Event('change', { bubbles: true }));
    });
    await settled();
    expect(preview).toHaveBeenLastCalledWith(RUN, expect.objectContaining({ sharing: 'none' }));
  });

  it('saves, and overwrites only when told to', async () => {
    vi.useFakeTimers();
    const asked: boolean[] = [];
    const save = vi.fn(async (_id: string, request: { preview: boolean; overwrite?: boolean }) => {
      if (!request.preview) {
        asked.push(request.overwrite ?? false);
        if (!request.overwrite) {
          throw new TransportError('refused', 409, 'files are there', 'overwrite them');
        }
      }
      return { ...files, paths: ['exports/train/README.md'] };
    });
    await show(form({ export: save }));
    await settled();
    await press(button('Save'));
    expect(host.textContent).toContain('files are there: overwrite them');
    await press(button('Overwrite'));
    expect(asked).toEqual([false, true]);
    expect(host.textContent).toContain('1 file written to exports/train');
  });

  it('a refusal is said, and can be insisted against', async () => {
    vi.useFakeTimers();
    const preview = vi.fn(async (_id: string, request: { force?: boolean }) => {
      if (!request.force) {
        throw new TransportError('refused', 422, 'nothing has converged', 'measure for longer');
      }
      return files;
    });
    await show(form({ export: preview }));
    await settled();
    expect(host.querySelector('[role=alert]')?.textContent).toContain('nothing has converged');
    expect(button('Save').disabled).toBe(true);
    await press(host.querySelector('.jp-GpuPredict-export > .jp-GpuPredict-check input') as HTMLElement);
    await settled();
    expect(host.querySelector('pre')?.textContent).toBe('kind: Job');
  });

  it('sends the cells of the notebook that the run is of, and the names that the caller gives', async () => {
    vi.useFakeTimers();
    const preview = vi.fn(async () => ({ ...files, texts: { ...files.texts, 'train_fn.py': 'def train' } }));
    await show(form({ export: preview }, vi.fn(), notebook));
    await settled();
    const sent = { cells: [cell], notebook: 'work/a.ipynb' };
    expect(preview).toHaveBeenLastCalledWith(RUN, expect.objectContaining(sent));
    await enter(control('Names that the caller gives'), ' data, epochs ');
    await settled();
    const params = ['data', 'epochs'];
    expect(preview).toHaveBeenLastCalledWith(RUN, expect.objectContaining({ ...sent, params }));
    const shown = [...host.querySelectorAll('select:last-of-type option')].map(one => one.textContent);
    expect(shown.slice(-3)).toEqual(['deploy/job.yaml', 'train_fn.py', 'README.md']);
    await press(host.querySelector('.jp-GpuPredict-export > .jp-GpuPredict-check input') as HTMLElement);
    await settled();
    expect(preview).toHaveBeenLastCalledWith(RUN, expect.not.objectContaining({ cells: expect.anything() }));
    expect(preview).toHaveBeenLastCalledWith(RUN, expect.not.objectContaining({ params }));
  });

  it('sends no cells of another kernel’s notebook unless told to', async () => {
    vi.useFakeTimers();
    const preview = vi.fn(async () => files);
    await show(form({ export: preview }, vi.fn(), { ...notebook, own: false }));
    await settled();
    expect(preview).toHaveBeenLastCalledWith(RUN, expect.not.objectContaining({ cells: expect.anything() }));
  });

  it('code that cannot be taken is said, and is nothing to insist against', async () => {
    vi.useFakeTimers();
    const preview = vi.fn(async (_id: string, request: { cells?: unknown[] }) => {
      if (request.cells) {
        throw new TransportError('refused', 422, 'no cell has the code', 'run it again', 'code');
      }
      return files;
    });
    await show(form({ export: preview }, vi.fn(), notebook));
    await settled();
    const told = host.querySelector('[role=alert]')?.textContent;
    expect(told).toContain('no cell has the code');
    expect(told).toContain('the manifests alone');
    expect(host.querySelectorAll('.jp-GpuPredict-export > .jp-GpuPredict-check')).toHaveLength(1);
    await press(host.querySelector('.jp-GpuPredict-export > .jp-GpuPredict-check input') as HTMLElement);
    await settled();
    expect(host.querySelector('pre')?.textContent).toBe('kind: Job');
  });

  describe('credentials in the code', () => {
    const said = 'In [3] line 1 holds what looks like an AWS access key';
    const found = () => new TransportError('refused', 422, said, 'with --secrets env', 'secrets');
    const chooser = () => host.querySelector('select:has(option[value=env])') as HTMLSelectElement | null;
    const keep = () =>
      [...host.querySelectorAll('label')]
        .find(one => one.textContent?.startsWith('Keep what looks like a credential'))
        ?.querySelector('input') as HTMLInputElement;

    async function choose(value: string): Promise<void> {
      await act(async () => {
        chooser()!.value = value;
        chooser()!.dispatchEvent(new Event('change', { bubbles: true }));
      });
    }

    const server = () =>
      vi.fn(async (_id: string, request: IExportRequest) => {
        if (request.cells && !request.secrets && !request.allow_secrets) {
          throw found();
        }
        return files;
      });

    it('are named in the server’s words, and nothing is chosen for the user', async () => {
      vi.useFakeTimers();
      const preview = server();
      await show(form({ export: preview }, vi.fn(), notebook));
      expect(chooser()).toBeNull();
      await settled();
      const told = host.querySelector('[role=alert]')?.textContent;
      expect(told).toContain(said);
      expect(told).not.toContain('--secrets');
      expect(told).toContain('the manifests alone');
      expect(chooser()?.labels?.[0]?.textContent).toContain('Who gives what looks like a credential');
      expect(chooser()?.value).toBe('');
      expect([...chooser()!.options].map(one => one.value)).toEqual(['', 'env', 'param']);
      expect(keep().checked).toBe(false);
      expect(button('Save').disabled).toBe(true);
      expect(host.textContent).not.toContain('Insist on what is refused');
    });

    it.each(['env', 'param'])('are given by %s once chosen, in the preview and when saved', async secrets => {
      vi.useFakeTimers();
      const preview = server();
      await show(form({ export: preview }, vi.fn(), notebook));
      await settled();
      await choose(secrets);
      await settled();
      expect(host.querySelector('[role=alert]')).toBeNull();
      expect(host.querySelector('pre')?.textContent).toBe('kind: Job');
      await press(button('Save'));
      for (const shown of [true, false]) {
        expect(preview).toHaveBeenCalledWith(RUN, expect.objectContaining({ preview: shown, secrets }));
      }
      expect(preview).not.toHaveBeenCalledWith(RUN, expect.objectContaining({ allow_secrets: true }));
    });

    it('stay only where the box is ticked', async () => {
      vi.useFakeTimers();
      const preview = server();
      await show(form({ export: preview }, vi.fn(), notebook));
      await settled();
      await press(keep());
      await settled();
      expect(preview).toHaveBeenLastCalledWith(RUN, expect.objectContaining({ allow_secrets: true }));
      expect(host.querySelector('pre')?.textContent).toBe('kind: Job');
    });

    it('are found on saving, too, and the choice stays where it was when it is taken back', async () => {
      vi.useFakeTimers();
      await show(form({ export: server() }, vi.fn(), notebook));
      await settled();
      const control = chooser();
      await choose('env');
      await settled();
      await choose('');
      await press(button('Save')); // before the preview of it has come
      expect(host.querySelector('[role=alert]')?.textContent).toContain(said);
      expect(host.querySelector('[role=status]')?.textContent).toBe('');
      await settled();
      expect(chooser()).toBe(control);
    });

    it('are nothing to ask about without the code', async () => {
      vi.useFakeTimers();
      const preview = server();
      await show(form({ export: preview }, vi.fn(), notebook));
      await settled();
      await choose('env');
      await press(host.querySelector('.jp-GpuPredict-export > .jp-GpuPredict-check input') as HTMLElement);
      await settled();
      expect(chooser()).toBeNull();
      expect(preview).toHaveBeenLastCalledWith(RUN, expect.not.objectContaining({ secrets: expect.anything() }));
    });
  });

  describe('the options', () => {
    it('are all there, each with the help of the document', async () => {
      vi.useFakeTimers();
      const refused = new TransportError('refused', 422, 'nothing has converged', 'measure for longer');
      await show(form({ export: async () => Promise.reject(refused) }, vi.fn(), notebook));
      await settled();
      const later = ['overwrite', 'secrets', 'allow_secrets']; // a button, and where credentials are found
      for (const name of OPTION_NAMES.filter(one => !later.includes(one))) {
        const said = SCHEMAS.ExportRequest.properties?.[name]?.description?.slice(1) ?? 'no help';
        const shown = [...host.querySelectorAll<HTMLElement>('label')].filter(
          one => one.textContent?.includes(said) || one.innerHTML.includes(said)
        );
        expect(shown.length, name).toBe(1);
      }
    });

    it('begin as the document says, and are sent only where they were given', async () => {
      vi.useFakeTimers();
      const preview = vi.fn(async () => files);
      await show(form({ export: preview }));
      await settled();
      expect(preview).toHaveBeenLastCalledWith(RUN, {
        preview: true, workload: 'job', name: 'train', output: 'exports/train'
      });
      expect((control('accelerator') as HTMLInputElement).placeholder).toBe('nvidia-l4');
    });

    it('are sent as what they are: numbers, names, labels, ticks', async () => {
      vi.useFakeTimers();
      const preview = vi.fn(async () => files);
      await show(form({ export: preview }));
      const memory = control('memory_mib') as HTMLInputElement;
      expect([memory.type, memory.min, memory.max, memory.step]).toEqual(['number', '1', '16777216', '1']);
      await enter(memory, '2048');
      await enter(control('headroom_percent'), '12.5');
      await enter(control('knative_features'), 'one, two');
      await enter(control('Labels of the nodes'), 'gpu=h200');
      await enter(control('gpu_uuid'), '  ');
      await press(control('Several CUDA processes'));
      await settled();
      expect(preview).toHaveBeenLastCalledWith(RUN, {
        preview: true, workload: 'job', name: 'train', output: 'exports/train', memory_mib: 2048,
        headroom_percent: 12.5, knative_features: ['one', 'two'], node_selector: { gpu: 'h200' },
        per_process: true
      });
      await enter(memory, '');
      await settled();
      expect(preview).toHaveBeenLastCalledWith(RUN, expect.not.objectContaining({ memory_mib: expect.anything() }));
    });

    it('of the function’s code are there with the code, and sent with it', async () => {
      vi.useFakeTimers();
      const preview = vi.fn(async () => files);
      await show(form({ export: preview }, vi.fn(), notebook));
      await enter(control('base_image'), 'python:3.12');
      await settled();
      expect(preview).toHaveBeenLastCalledWith(RUN, expect.objectContaining({ base_image: 'python:3.12' }));
      await press(control('With the function’s code'));
      await settled();
      expect(host.textContent).not.toContain('base_image');
      expect(preview).toHaveBeenLastCalledWith(RUN, expect.not.objectContaining({ base_image: expect.anything() }));
    });
  });

  it('names are read as they are written', () => {
    expect(asNames(' data, epochs ')).toEqual(['data', 'epochs']);
  });

  it('node labels are read as they are written', () => {
    expect(asLabels('gpu=h200,  mps=on=1 plain')).toEqual({ gpu: 'h200', mps: 'on=1', plain: '' });
  });

  it('names are those that Kubernetes takes', () => {
    expect(asName('My Notebook (2).ipynb')).toBe('my-notebook-2');
    expect(asName('2024_run.ipynb')).toBe('run');
    expect(asName('')).toBe('train');
    expect(asName('x'.repeat(80))).toHaveLength(40);
  });
});
