import * as React from 'react';
import { act } from 'react';
import { describe, expect, it, vi } from 'vitest';

import type { Outcome } from '../api';
import { Became } from '../views/became';
import { TransportError } from '../transport';
import { api, RUN, session, summary, words } from './fixtures';
import { host, show } from './rendered';

vi.mock('@jupyterlab/services', () => ({ ServerConnection: {} }));
vi.mock('@jupyterlab/coreutils', () => ({ URLExt: {} }));

const of = (outcome: Outcome) => session({ session: summary({ outcome }) });
const became = (answers: Parameters<typeof api>[0]) =>
  show(<Became api={api(answers)} id={RUN} words={words} otherwise="the words of the notebook" />);
const file = async () => new Blob(['png']);

describe('what became of a run', () => {
  it.each([
    ['lost', 'The kernel was restarted or died after'],
    ['completed', 'The cell completed after'],
    ['failed', 'The cell failed after']
  ] as const)('that is %s is said above its picture', async (outcome, sentence) => {
    const text = await became({ session: async () => of(outcome), file });
    expect(text).toContain(sentence);
    expect(text).toContain(`%gpupredict show ${RUN.slice(-4)}`);
    expect(host.querySelector('img')?.alt).toBe(summary().headline);
  });

  it('is asked again while it runs', async () => {
    vi.useFakeTimers();
    let outcome: Outcome = 'running';
    expect(await became({ session: async () => of(outcome), file })).toContain('Still running');
    outcome = 'lost';
    await act(async () => vi.advanceTimersByTimeAsync(1000));
    expect(host.textContent).toContain('restarted or died');
  });

  it('is its headline where there is no picture', async () => {
    const text = await became({ session: async () => of('completed'), file: async () => Promise.reject(new Error('no')) });
    expect(host.querySelector('img')).toBeNull();
    expect(text).toContain(summary().headline);
  });

  it('is left to the notebook’s own words where the server has no record', async () => {
    const text = await became({ session: async () => Promise.reject(new TransportError('refused', 404, 'no such run')) });
    expect(text).toBe('the words of the notebook');
  });
});
