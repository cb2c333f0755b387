import { describe, expect, it } from 'vitest';

import type { IAnswer } from '../api';
import { newWord } from '../news';

describe('the news of a run', () => {
  it('are that it settled or changed, never what it was when it was first seen', () => {
    const isNew = newWord();
    const said = (session_id: string, word: IAnswer['word']) => isNew({ session_id, word });
    expect(said('a', 'settled')).toBe(false);
    expect(said('a', 'settled')).toBe(false);
    expect(said('a', 'changed')).toBe(true);
    expect(said('a', 'settling')).toBe(false);
    expect(said('a', 'settled')).toBe(true);
    expect(said('b', 'changed')).toBe(false);
    expect(said('b', 'observed')).toBe(false);
  });
});
