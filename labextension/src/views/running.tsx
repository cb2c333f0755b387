/** The current notebook's newest run, live while its cell is busy. */
import * as React from 'react';

import { LOADER, MAGIC } from '../magic';
import { HeardRun } from './heard';
import { Empty } from './parts';
import { RunCard } from './runcard';
import type { IViewProps } from './view';

export function Running(props: IViewProps): React.ReactElement {
  const { model, words, actions } = props;
  const trans = words.trans;
  const { place, newest, run } = model;
  if (place.kind === 'nowhere') {
    return (
      <Empty
        why={trans.__('No notebook or console is open.')}
        next={trans.__('Open one: its measured cells are shown here.')}
      />
    );
  }
  const gone = place.kind === 'no-kernel';
  if (gone && !newest) {
    return (
      <Empty
        why={trans.__('%1 has no kernel.', place.name)}
        next={trans.__('Choose one from the menu Kernel, Change Kernel.')}
      />
    );
  }
  if (!gone && (place.status === 'restarting' || place.status === 'autorestarting')) {
    return (
      <Empty
        why={trans.__('The kernel is restarting.')}
        next={trans.__('What it has measured stays in the history.')}
      />
    );
  }
  if (!model.known) {
    return <Empty why={trans.__('Loading…')} />;
  }
  if (model.heard) {
    return (
      <>
        <p className="jp-GpuPredict-small">{place.name}</p>
        <HeardRun {...props} heard={model.heard} />
      </>
    );
  }
  if (!newest || !run) {
    return (
      <Empty
        why={trans.__('No cell of %1 has been measured yet.', place.name)}
        next={trans.__(
          'Run %1 once, write %2 on the first line of a training cell, and run it.',
          LOADER,
          MAGIC
        )}
        detail={model.noRuns}
      />
    );
  }
  const stopping = model.stopping.has(newest.session_id);
  return (
    <>
      <p className="jp-GpuPredict-small">{place.name}</p>
      {gone && (
        <p className="jp-GpuPredict-warning">
          {trans.__('The kernel is gone; this is its last run. For a new one: menu Kernel, Change Kernel.')}
        </p>
      )}
      {newest.remote && (
        <p className="jp-GpuPredict-warning">
          {trans.__('The kernel runs on %1: the figures are of its devices.', newest.host)}
        </p>
      )}
      {newest.outcome === 'lost' && (
        <p className="jp-GpuPredict-warning">
          {trans.__(
            'The kernel was restarted or died during this run. What was read until then is kept; run the cell again for a whole one.'
          )}
        </p>
      )}
      {run.seq < 0 ? (
        <Empty why={trans.__('Loading…')} />
      ) : (
        <RunCard {...props} run={run} outcome={newest.outcome}>
          {newest.outcome === 'running' && (
            <button
              type="button"
              className="jp-GpuPredict-button"
              disabled={stopping}
              title={trans.__('Ends the measuring; the cell runs on')}
              onClick={() => actions.stop(newest.session_id)}
            >
              {stopping ? trans.__('Stopping; the cell runs on') : trans.__('Stop measuring')}
            </button>
          )}
        </RunCard>
      )}
    </>
  );
}
