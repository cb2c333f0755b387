import { describe, expect, it } from 'vitest';

import { SCHEMAS } from '../api';
import { asEvent, RunEvent } from '../events';
import schemas from '../schema.json';
import { lines } from './fixtures';

/** The fields of a kind of event, as the document has them. */
function fields(event: string): string[] {
  return Object.keys(SCHEMAS[event as RunEvent['event']].properties ?? {}).sort();
}

describe('the events that Python writes', () => {
  it('are all known here, with the same fields', () => {
    const found = lines() as Record<string, unknown>[];
    const known = Object.keys(schemas.Event.discriminator.mapping);
    expect(found.map(line => line.event).sort()).toEqual(known.sort());
    for (const line of found) {
      expect(fields(String(line.event)), String(line.event)).toEqual(Object.keys(line).sort());
    }
  });

  it('are read, each of them', () => {
    for (const line of lines()) {
      expect(asEvent(line)).toEqual(line);
    }
  });

  it('carry null for a reading that could not be had', () => {
    const samples = lines()[1];
    expect(asEvent(samples)).toMatchObject({ readings: [{ values: [0.4, null, 0.5] }, {}] });
  });
});

describe('what is no event', () => {
  const started = lines()[0] as Record<string, unknown>;
  it.each([
    ['nothing', null],
    ['a list', []],
    ['another kind', { event: 'Coffee', seq: 0, t_s: 0 }],
    ['a prototype field', { event: 'toString', seq: 0, t_s: 0 }],
    ['no number', { ...started, seq: '0' }],
    ['another schema', { ...started, schema: 2 }],
    ['a lacking field', { event: 'GapObserved', seq: 1, t_s: 1, from_s: 0, cause: 'x' }],
    ['a field of another type', { ...started, devices: 'one' }],
    ['a field of another type in what it holds', { ...started, devices: [{ uuid: 1, name: 'one' }] }],
    ['null for what is always there', { ...started, host: null }]
  ])('%s', (_, value) => {
    expect(asEvent(value)).toBeNull();
  });

  it('a newer writer’s additional field does no harm', () => {
    expect(asEvent({ ...started, brand_new: 1 })).not.toBeNull();
  });

  it('an older writer’s missing field gets its default', () => {
    const { last_time: _, ...older } = started;
    expect(asEvent(older)).toMatchObject({ last_time: '' });
  });

  it('so does a missing field of what an event holds, and a new word does no harm', () => {
    const device = { uuid: 'GPU-1', name: 'NVIDIA H200', brand_new: 1 };
    const share = { ...(started.share as object), metric: 'brand_new_ratio' };
    const read = asEvent({ ...started, share, devices: [device] });
    expect(read).toMatchObject({ share, devices: [{ ...device, index: null, assumed: false }] });
  });
});
