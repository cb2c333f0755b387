import { describe, expect, it } from 'vitest';

import { asEvent, EventName, FIELDS } from '../events';
import { lines, text, words } from './fixtures';

describe('the events that Python writes', () => {
  it('are all known here, with the same fields', () => {
    const found = new Map(
      lines().map(line => {
        const { event, seq: _seq, t_s: _t, ...fields } = line as Record<string, unknown>;
        return [event as EventName, Object.keys(fields).sort()];
      })
    );
    expect([...found.keys()].sort()).toEqual(Object.keys(FIELDS).sort());
    for (const [event, fields] of found) {
      expect(Object.keys(FIELDS[event]).sort(), event).toEqual(fields);
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
    ['a field of another type', { ...started, devices: 'one' }]
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
});

interface IPhrases {
  recommendation: Parameters<typeof words.prediction>[0];
  prediction: string;
  certified: string;
  bounds: string;
  time_left: string;
  memory: string;
}

describe('the words', () => {
  it.each(JSON.parse(text('words.json')) as IPhrases[])('are those of Python: $prediction', phrases => {
    const told = phrases.recommendation;
    expect(words.prediction(told)).toBe(phrases.prediction);
    expect(words.certified(told)).toBe(phrases.certified);
    expect(words.bounds(told)).toBe(phrases.bounds);
    expect(words.timeLeft(told)).toBe(phrases.time_left);
    expect(words.memory(told.memory)).toBe(phrases.memory);
  });
});
