import { MimeData } from '@lumino/coreutils';
import { act } from 'react';
import * as React from 'react';
import { describe, expect, it, vi } from 'vitest';

import type { Source } from '../api';
import { takeDrops } from '../drops';
import { Model } from '../model';
import { Recorded } from '../views/recorded';
import { api, picture, props, session, summary } from './fixtures';
import { button, host, press, show } from './rendered';

vi.mock('@jupyterlab/services', () => ({ ServerConnection: {} }));
vi.mock('@jupyterlab/coreutils', () => ({ URLExt: {} }));
vi.mock('../chart', () => ({
  Chart: class {
    set() {}
    dispose() {}
  },
  seconds: (value: number) => `${value} s`
}));

const source: Source = { path: 'logs/train.csv' };
const name = 'train.csv';

function showing(model: Model, predictFrom = vi.fn(), found = api()): Promise<string> {
  const given = props({ model, api: found });
  return show(<Recorded {...given} actions={{ ...given.actions, predictFrom }} />);
}

function enter(label: string, value: string): Promise<void> {
  const field = [...host.querySelectorAll('label')].find(one => one.textContent === label);
  const input = field?.querySelector('input') as HTMLInputElement;
  const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value')?.set;
  return act(async () => {
    set?.call(input, value);
    input.dispatchEvent(new Event('input', { bubbles: true }));
  });
}

describe('a recording', () => {
  it('is asked for, and its button has the focus when the palette asks', async () => {
    const model = new Model();
    const text = await showing(model);
    expect(text).toContain('Drop a log of a GPU here');
    expect(host.querySelector('form')).toBeNull();
    await act(async () => model.setRecording({ name: '', at: 'asked' }));
    await showing(model);
    expect(document.activeElement).toBe(button('Choose a file…'));
  });

  it('that is refused: one line, the fields that answer it, and it is read again', async () => {
    const model = new Model();
    const hint = 'add --sms N --compute-capability X.Y, or --interval S; see --else';
    model.setRecording({ name, source, at: 'failed', message: 'train.csv has no line of titles', hint });
    const again = vi.fn();
    const text = await showing(model, again);
    expect(text).toContain('train.csv has no line of titles');
    expect(text).toContain('add “SMs of the GPU” N “Compute capability” X.Y, or “Seconds between rows” S; see --else');
    expect(host.querySelector('details')?.open).toBe(true);
    const fields = [...host.querySelectorAll('label')].map(one => one.textContent);
    expect(fields.slice(0, 3)).toEqual(['Seconds between rows', 'SMs of the GPU', 'Compute capability']);
    await enter('Columns', ' timestamp,utilization.gpu ');
    await enter('Seconds between rows', '2');
    await enter('Device', '');
    await press(button('Read again'));
    expect(again).toHaveBeenCalledWith(source, { columns: 'timestamp,utilization.gpu', interval_s: '2' });
  });

  it('that is read: progress, and no second one meanwhile', async () => {
    const model = new Model();
    model.setRecording({ name, source, at: 'reading' });
    expect(await showing(model)).toContain('Reading train.csv…');
    expect(button('Choose a file…').disabled).toBe(true);
  });

  it('that is kept is shown as a run of each device, and closed', async () => {
    const model = new Model();
    const runs = [summary(), summary({ session_id: '20250102T030405Z-host-1-ffff' })];
    model.setRecording({ name, source, at: 'kept', runs });
    const asked = vi.fn(async () => session());
    await showing(model, vi.fn(), api({ session: asked, picture: async () => picture() }));
    await act(async () => undefined);
    expect(asked.mock.calls.map(([id]: unknown[]) => id)).toEqual(runs.map(one => one.session_id));
    expect(host.querySelectorAll('.jp-GpuPredict-card')).toHaveLength(2);
    expect(host.querySelector('details')?.open).toBe(false);
    const before = model.touched;
    await press(button('Close'));
    expect(model.recording).toBeNull();
    expect(model.touched).toBeGreaterThan(before);
  });
});

describe('what is dropped', () => {
  const dropped = (type: string, part: object) => Object.assign(new Event(type, { cancelable: true }), part);

  it('is the first of the files', () => {
    const node = document.createElement('div');
    const taken: Source[] = [];
    takeDrops(node, one => taken.push(one));
    const file = new File(['x'], name);
    const dataTransfer = { types: ['Files'], files: [file, new File([], 'b')] };
    const over = dropped('dragover', { dataTransfer });
    node.dispatchEvent(over);
    expect(over.defaultPrevented).toBe(true);
    expect(taken).toEqual([]);
    node.dispatchEvent(dropped('drop', { dataTransfer }));
    expect(taken).toEqual([{ file }]);
    const text = dropped('drop', { dataTransfer: { types: ['text/plain'], files: [] } });
    node.dispatchEvent(text);
    expect(text.defaultPrevented).toBe(false);
  });

  it('is an item of the file browser, and nothing else of the application', () => {
    const node = document.createElement('div');
    const taken: Source[] = [];
    takeDrops(node, one => taken.push(one));
    const mimeData = new MimeData();
    const event = () => dropped('lm-drop', { mimeData, proposedAction: 'copy', dropAction: 'none' });
    node.dispatchEvent(event());
    expect(taken).toEqual([]);
    mimeData.setData('application/x-jupyter-icontents', ['logs/train.csv', 'b.csv']);
    const over = dropped('lm-dragover', { mimeData, proposedAction: 'copy', dropAction: 'none' });
    node.dispatchEvent(over);
    expect((over as unknown as { dropAction: string }).dropAction).toBe('copy');
    node.dispatchEvent(event());
    expect(taken).toEqual([{ path: 'logs/train.csv' }]);
  });
});
