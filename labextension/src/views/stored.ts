/** A run that was measured before, as the reducer sees it. */
import type { IApi, ISummary } from '../api';
import { Run } from '../run';

const WIDTH = 600;

export interface IStored {
  summary: ISummary;
  run: Run;
}

/** Return a stored run, whole, with its summary. */
export async function stored(api: IApi, id: string): Promise<IStored> {
  const [session, picture] = await Promise.all([api.session(id), api.picture(id, WIDTH)]);
  const run = new Run(id, Infinity);
  run.restore(session, picture);
  return { summary: session.session, run };
}
