/** A run of a kernel whose record the server does not have: what its messages tell. */
import * as React from 'react';

import type { Heard } from '../frames';
import { Card } from './card';
import { Plot } from './plot';
import type { IViewProps } from './view';

const MIB = 2 ** 20;

export function HeardRun({ heard, words, actions }: IViewProps & { heard: Heard }): React.ReactElement | null {
  const trans = words.trans;
  const { answer, last } = heard;
  if (!last || !answer) {
    return null;
  }
  const share = heard.share.map(([t, low, high]) => ({ t, low: part(low), high: part(high) }));
  const memory = heard.memory.map(([t, mib]) => {
    const bytes = mib === null ? null : mib * MIB;
    return { t, low: bytes, high: bytes };
  });
  const common = { from_s: share[0]?.t ?? 0, end_s: last.end, words };
  const level = part(last.target);
  return (
    <div className="jp-GpuPredict-run" data-heard={last.seq} data-outcome={last.finished ? 'over' : 'running'}>
      <Card
        // what the server would do, the kernel does when it is told to in a cell
        answer={{ ...answer, actions: answer.actions.filter(one => one.command) }}
        rows={share}
        words={words}
        act={action => actions.offer(action.command)}
      />
      <p className="jp-GpuPredict-warning">
        {trans.__(
          'This server has no record of the run: its kernel runs on another machine, or could not write one. What is shown comes from the kernel’s messages; once the run is over, a reload of the page loses it.'
        )}
      </p>
      {share.length > 0 && (
        <Plot
          {...common}
          title={trans.__('share')}
          summary={trans.__('share over time. %1', answer.headline)}
          lines={[{ name: trans.__('share'), color: '--gp-share', rows: share }]}
          level={level === null ? null : { at: level, text: words.percent(level) }}
          top={1}
          format={value => words.percent(value)}
        />
      )}
      {memory.length > 0 && (
        <Plot
          {...common}
          title={trans.__('memory')}
          summary={trans.__('memory over time')}
          lines={[{ name: trans.__('memory'), color: '--gp-memory', rows: memory }]}
          top={null}
          format={value => words.size(value)}
          binary
          height={100}
        />
      )}
    </div>
  );
}

/** Frames hold percent. */
function part(percent: number | null): number | null {
  return percent === null ? null : percent / 100;
}
