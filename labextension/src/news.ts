/** When a run's word is news: it settles, or what was settled changes. */
import type { IAnswer } from './api';

/** Return a function that says of each answer whether it is news; the first of a run never is. */
export function newWord(): (answer: Pick<IAnswer, 'session_id' | 'word'>) => boolean {
  let run = '';
  let word = '';
  return answer => {
    const known = answer.session_id === run;
    const changed = known && answer.word !== word;
    run = answer.session_id;
    word = answer.word;
    return changed && (word === 'settled' || word === 'changed');
  };
}
