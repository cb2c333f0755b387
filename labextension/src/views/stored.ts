/** Runs that were measured before, as the reducer sees them. */
import * as React from 'react';

import type { IAnswer, IApi, IPicture, ISession, ISummary } from '../api';
import { Run } from '../run';
import { Asked, problemOf } from './parts';

const WIDTH = 600;
/** The server reads a long trace for a fifth of a second at a time. */
const MAX_ASKED = 400;

export interface IStored {
  summary: ISummary;
  answer: IAnswer;
  run: Run;
  /** Whether more of it is being read. */
  partial: boolean;
}

/** Ask for stored runs: of a long one a part is there soon, and grows until it is whole. */
export function useStored(api: IApi, ids: readonly string[]): [Asked<IStored[]>, () => void] {
  const [asked, setAsked] = React.useState<Asked<IStored[]>>({ at: 'loading' });
  const [round, setRound] = React.useState(0);
  React.useEffect(() => {
    let wanted = true;
    const load = async () => {
      const sessions = Promise.all(ids.map(id => api.session(id)));
      let pictures = await Promise.all(ids.map(id => api.picture(id, WIDTH)));
      const found = await sessions;
      for (let count = 1; wanted; count++) {
        setAsked({ at: 'there', value: pictures.map((one, i) => drawn(found[i] as ISession, one)) });
        if (count === MAX_ASKED || pictures.every(one => one.complete)) {
          return;
        }
        pictures = await Promise.all(
          pictures.map((one, i) => (one.complete ? one : api.picture(ids[i] as string, WIDTH)))
        );
      }
    };
    setAsked({ at: 'loading' });
    load().catch((error: unknown) => wanted && setAsked({ at: 'failed', ...problemOf(error) }));
    return () => {
      wanted = false;
    };
  }, [ids.join(' '), round]);
  return [asked, () => setRound(count => count + 1)];
}

function drawn(session: ISession, picture: IPicture): IStored {
  const run = new Run(picture.session_id, Infinity);
  run.restore(session, picture);
  return { summary: session.session, answer: session.answer, run, partial: !picture.complete };
}
