/** A run that was measured before, as the reducer sees it. */
import type { IApi, ISummary } from '../api';
import { Run } from '../run';

const WIDTH = 600;
/** The server reads a long trace for a fifth of a second at a time. */
const MAX_ASKED = 100;

export interface IStored {
  summary: ISummary;
  run: Run;
}

/** Return a stored run, whole, with its summary. */
export async function stored(api: IApi, id: string): Promise<IStored> {
  const [session, first] = await Promise.all([api.session(id), api.picture(id, WIDTH)]);
  let picture = first;
  for (let asked = 1; !picture.complete && asked < MAX_ASKED; asked++) {
    picture = await api.picture(id, WIDTH);
  }
  const run = new Run(id, Infinity);
  run.restore(session, picture);
  return { summary: session.session, run };
}
