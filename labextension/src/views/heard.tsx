/** A run of a kernel whose record the server does not have: what its messages tell. */
import * as React from 'react';

import type { Heard } from '../frames';
import type { Words } from '../words';
import { Plot } from './plot';

const MIB = 2 ** 20;

export function HeardRun({ heard, words }: { heard: Heard; words: Words }): React.ReactElement | null {
  const trans = words.trans;
  const last = heard.last;
  if (!last) {
    return null;
  }
  const share = heard.share.map(([t, low, high]) => ({ t, low: part(low), high: part(high) }));
  const memory = heard.memory.map(([t, mib]) => {
    const bytes = mib === null ? null : mib * MIB;
    return { t, low: bytes, high: bytes };
  });
  const from_s = share[0]?.t ?? 0;
  const level = part(last.target);
  return (
    <div className="jp-GpuPredict-run" data-heard={last.seq} data-outcome={last.finished ? 'over' : 'running'}>
      <p className="jp-GpuPredict-warning">
        {trans.__(
          'This server has no record of the run: its kernel runs on another machine, or could not write one. What is shown comes from the kernel’s messages; once the run is over, a reload of the page loses it.'
        )}
      </p>
      <p className="jp-GpuPredict-small">
        {trans.__(
          'Not from here: stop, history, comparison, export. In a cell, %1 and %2 do it; the interrupt button works as ever.',
          '%gpupredict show',
          '%gpupredict export'
        )}
      </p>
      <h4 className="jp-GpuPredict-headline">{last.headline}</h4>
      <p>{last.finished ? trans.__('over') : trans.__('running for %1', words.span(last.end))}</p>
      <p className="jp-GpuPredict-small">{last.label}</p>
      {last.problem && <p className="jp-GpuPredict-warning">{last.problem}</p>}
      {share.length > 0 && (
        <Plot
          title={trans.__('share')}
          summary={trans.__('share over time. %1', last.headline)}
          lines={[{ name: trans.__('share'), color: '--gp-share', rows: share }]}
          level={level === null ? null : { at: level, text: words.percent(level) }}
          from_s={from_s}
          end_s={last.end}
          top={1}
          format={value => words.percent(value)}
          words={words}
        />
      )}
      {memory.length > 0 && (
        <Plot
          title={trans.__('memory')}
          summary={trans.__('memory over time')}
          lines={[{ name: trans.__('memory'), color: '--gp-memory', rows: memory }]}
          from_s={from_s}
          end_s={last.end}
          top={null}
          format={value => words.size(value)}
          binary
          words={words}
          height={100}
        />
      )}
      <p className="jp-GpuPredict-small">{last.detail}</p>
    </div>
  );
}

/** Frames hold percent. */
function part(percent: number | null): number | null {
  return percent === null ? null : percent / 100;
}
