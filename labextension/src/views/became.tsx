/** In the place of a live view that is gone: what became of its run, with the stored picture. */
import * as React from 'react';

import type { IApi, ISummary, Outcome } from '../api';
import type { Words } from '../words';

const FIRST_MS = 1000;
const MAX_MS = 10_000;

export interface IBecameProps {
  api: IApi;
  id: string;
  words: Words;
  /** What is shown where the server has no record of the run. */
  otherwise: string;
}

type Found = { summary: ISummary; picture: string } | 'unknown' | null;

export function Became({ api, id, words, otherwise }: IBecameProps): React.ReactElement | null {
  const trans = words.trans;
  const [found, setFound] = React.useState<Found>(null);
  React.useEffect(() => {
    let wanted = true;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let picture = '';
    let wait_ms = FIRST_MS;
    const look = async () => {
      const before = picture;
      const { session } = await api.session(id);
      const drawn = await api.file(id, 'chart/png').catch(() => null); // nothing was read
      if (wanted) {
        picture = drawn ? URL.createObjectURL(drawn) : '';
        setFound({ summary: session, picture });
        URL.revokeObjectURL(before);
        if (session.outcome === 'running') {
          timer = setTimeout(ask, wait_ms);
          wait_ms = Math.min(MAX_MS, 2 * wait_ms);
        }
      }
    };
    const ask = () => {
      look().catch(() => wanted && setFound('unknown'));
    };
    ask();
    return () => {
      wanted = false;
      clearTimeout(timer);
      URL.revokeObjectURL(picture);
    };
  }, [id]);
  if (!found) {
    return null;
  }
  if (found === 'unknown') {
    return <pre className="jp-GpuPredict-became">{otherwise}</pre>;
  }
  const { summary, picture } = found;
  return (
    <div className="jp-GpuPredict-became" data-outcome={summary.outcome}>
      <p role="status">
        {became(summary, words)}{' '}
        {trans.__('%1 brings it into a cell; the panel’s History has it, too.', `%gpupredict show ${id.slice(-4)}`)}
      </p>
      {picture ? (
        <img src={picture} alt={summary.headline} />
      ) : (
        <p>
          {summary.sign} {summary.headline} ({summary.word})
        </p>
      )}
    </div>
  );
}

/** Return in one sentence how the run stands. */
function became(summary: ISummary, words: Words): string {
  const trans = words.trans;
  const age = words.span(summary.duration_s);
  const sentences: Record<Outcome, string> = {
    running: trans.__('Still running, measured for %1. The live view comes back when the kernel answers.', age),
    completed: trans.__('The cell completed after %1.', age),
    failed: trans.__('The cell failed after %1.', age),
    interrupted: trans.__('The cell was interrupted after %1.', age),
    stopped: trans.__('The measuring was stopped after %1.', age),
    lost: trans.__('The kernel was restarted or died after %1 of this run; what was read until then is kept.', age)
  };
  return sentences[summary.outcome];
}
