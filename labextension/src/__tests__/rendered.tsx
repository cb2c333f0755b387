/** A page to render into, for tests of views. */
import { act } from 'react';
import * as React from 'react';
import { createRoot, Root } from 'react-dom/client';
import { afterEach, beforeEach, expect, vi } from 'vitest';

export let host: HTMLElement;
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

export async function show(element: React.ReactElement): Promise<string> {
  await act(async () => root.render(element));
  return host.textContent ?? '';
}

export function button(text: string): HTMLButtonElement {
  const found = [...host.querySelectorAll('button')].find(one => one.textContent?.includes(text));
  expect(found, `a button ${text}`).toBeDefined();
  return found as HTMLButtonElement;
}

export async function press(element: HTMLElement): Promise<void> {
  await act(async () => element.click());
}
