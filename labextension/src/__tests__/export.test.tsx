import { act } from 'react';
import * as React from 'react';
import { describe, expect, it, vi } from 'vitest';

import { IApi, IExportRequest, SCHEMAS } from '../api';
import type { ISource } from '../notebook';
import { TransportError } from '../transport';
import { asName, ExportForm } from '../views/export';
import { chosen, holds } from '../views/obstacles';
import { asLabels, asNames, OPTION_NAMES } from '../views/options';
import { api, RUN, words } from './fixtures';
import { button, host, press, show } from './rendered';

vi.mock('@jupyterlab/services', () => ({ ServerConnection: {} }));
vi.mock('@jupyterlab/coreutils', () => ({ URLExt: {} }));

describe('the export form', () => {
  const files = {
    preview: true,
    output: 'exports/train',
    paths: [],
    texts: { 'README.md': 'read me', 'deploy/job.yaml': 'kind: Job' },
    warnings: ['the run was short']
  };
  const reveal = vi.fn();
  const form = (changed: Partial<IApi>, copy = vi.fn(), source: ISource | null = null) => (
    <ExportForm api={api(changed)} run={RUN} name="train" {...{ source, words, copy, reveal }} />
  );
  const fix = (label: string, options: Record<string, unknown>, asks = false) => ({ label, options, asks });
  const refused = (...obstacles: [string, ...ReturnType<typeof fix>[]][]) =>
    new TransportError('refused', 422, obstacles[0]![0], 'a hint', 'refused',
      obstacles.map(([message, ...fixes]) => ({ message, hint: 'with --flags', fixes })));
  const code = fix('Leave the code out', { cells: null });
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
    expect(host.textContent).toContain('files are there');
    expect(reveal).not.toHaveBeenCalled();
    await press(button('Overwrite'));
    expect(asked).toEqual([false, true]);
    expect(host.textContent).toContain('1 file written to exports/train');
    expect(reveal).toHaveBeenCalledWith('exports/train');
  });

  it('sends the cells of the notebook that the run is of, and the names that the caller gives', async () => {
    vi.useFakeTimers();
    const preview = vi.fn(async () => ({ ...files, texts: { ...files.texts, 'train_fn.py': 'def train' } }));
    await show(form({ export: preview }, vi.fn(), notebook));
    await settled();
    const sent = { cells: [cell], notebook: 'work/a.ipynb' };
    expect(preview).toHaveBeenLastCalledWith(RUN, expect.objectContaining(sent));
    await enter(control('A name that the function\'s caller'), ' data, epochs ');
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

  describe('what is in the way', () => {
    const memory = fix('Memory limit in MiB', { memory_mib: 7942 }, true);
    const insist = fix('Export it anyway', { force: true });
    const given = fix('The caller gives x, y', { params: ['x', 'y'] });
    const setup = fix('Mark cell 2 as setup', { setup: ['2'] });

    /** A server that wants memory, to be insisted with, and x and y of the code. */
    const server = () =>
      vi.fn(async (_id: string, request: IExportRequest) => {
        const left: [string, ...ReturnType<typeof fix>[]][] = [];
        if (!request.memory_mib) {
          left.push(['memory has not settled', memory, insist]);
        }
        if (!request.force) {
          left.push(['simulated data', insist]);
        }
        if (request.cells && !request.params?.includes('y') && !request.setup?.includes('2')) {
          left.push(['the cell needs x, y', given, setup, code]);
        }
        if (left.length > 0) {
          throw refused(...left);
        }
        return files;
      });
    const shown = () => [...host.querySelectorAll('.jp-GpuPredict-obstacles li')] as HTMLElement[];

    it('is shown at once, each with its remedies, and no flag', async () => {
      vi.useFakeTimers();
      await show(form({ export: server() }, vi.fn(), notebook));
      await settled();
      expect(host.textContent).toContain('3 things are in the way');
      expect(shown().map(one => one.querySelector('p')?.textContent)).toEqual([
        '▲ Memory has not settled', '▲ Simulated data', '▲ The cell needs x, y'
      ]);
      expect(host.querySelector('.jp-GpuPredict-obstacles')?.textContent).not.toContain('--');
      expect(button('Save').disabled).toBe(true);
    });

    it('goes, one after the other, with what is chosen, and what was chosen can be taken back', async () => {
      vi.useFakeTimers();
      const preview = server();
      await show(form({ export: preview }, vi.fn(), notebook));
      await settled();
      await press(button('Take 7942'));
      await press(control('The caller gives x, y'));
      await settled();
      expect(host.textContent).toContain('1 thing is in the way');
      const met = () => shown().filter(one => one.dataset.met === 'true').map(one => one.querySelector('p')?.textContent);
      expect(met()).toEqual(['✓ Memory has not settled', '✓ The cell needs x, y']);
      await press(shown().at(-1)!.querySelector('input') as HTMLElement);
      await settled();
      expect(preview).toHaveBeenLastCalledWith(
        RUN, expect.objectContaining({ memory_mib: 7942, params: ['x', 'y'], force: true, cells: [cell] })
      );
      expect(host.textContent).toContain('Nothing is in the way any more');
      expect(host.querySelector('pre')?.textContent).toBe('kind: Job');
      expect(button('Save').disabled).toBe(false);
      await press(control('The caller gives x, y'));
      await settled();
      expect(host.textContent).toContain('1 thing is in the way');
      await press(control('Leave the code out'));
      await settled();
      expect(preview).toHaveBeenLastCalledWith(RUN, expect.not.objectContaining({ cells: expect.anything() }));
      expect(button('Save').disabled).toBe(false);
    });

    it('has a hint where nothing of the form helps', async () => {
      vi.useFakeTimers();
      const error = new TransportError('refused', 400, 'leads outside', 'name a folder below');
      await show(form({ export: async () => Promise.reject(error) }));
      await settled();
      expect(shown()[0]?.textContent).toContain('Leads outside');
      expect(shown()[0]?.textContent).toContain('name a folder below');
    });

    it.each([
      [given, { params: 'a, x, y' }, { params: 'a' }],
      [insist, { force: true }, { force: '' }],
      [fix('local', { workload: 'local', sharing: 'mps' }), { workload: 'local', sharing: 'mps' }, { workload: '', sharing: '' }],
      [fix('no labels', { node_selector: {} }), { node_selector: '' }, { node_selector: '' }]
    ])('%j is taken and taken back', (one, on, off) => {
      const before = { entered: { params: 'a' }, code: true };
      const taken = chosen(one, true, before);
      expect(taken.entered).toMatchObject(on);
      expect(holds(one, taken)).toBe(true);
      expect(chosen(one, false, taken).entered).toMatchObject(off);
    });
  });

  describe('the options', () => {
    it('are all there, each with the help of the document', async () => {
      vi.useFakeTimers();
      await show(form({ export: async () => files }, vi.fn(), notebook));
      await settled();
      // in words of their own, a button, and where they help
      const later = ['workload', 'sharing', 'name', 'output', 'overwrite', 'secrets', 'allow_secrets', 'force'];
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
      expect((control('The accelerator to ask') as HTMLInputElement).placeholder).toBe('nvidia-l4');
    });

    it('are sent as what they are: numbers, names, labels, ticks', async () => {
      vi.useFakeTimers();
      const preview = vi.fn(async () => files);
      await show(form({ export: preview }));
      const memory = control('Your own memory limit (MiB)') as HTMLInputElement;
      expect([memory.type, memory.min, memory.max, memory.step]).toEqual(['number', '1', '16777216', '1']);
      await enter(memory, '2048');
      await enter(control('Your own margin on memory'), '12.5');
      await enter(control('your Knative has on'), 'one, two');
      await enter(control('Label of the nodes'), 'gpu=h200');
      await enter(control('The GPU that an MPS file'), '  ');
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
      await enter(control('What the Dockerfile starts'), 'python:3.12');
      await settled();
      expect(preview).toHaveBeenLastCalledWith(RUN, expect.objectContaining({ base_image: 'python:3.12' }));
      await press(control('With the function’s code'));
      await settled();
      expect(host.textContent).not.toContain('Dockerfile starts');
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
