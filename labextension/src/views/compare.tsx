/** Two runs side by side, on one time axis. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { Reading, Waiting, when } from './parts';
import { Plot } from './plot';
import { formatter } from './runcard';
import { IStored, useStored } from './stored';
import type { IViewProps } from './view';

export function Compare(props: IViewProps & { ids: [string, string] }): React.ReactElement {
  const { api, words, ids } = props;
  const trans = words.trans;
  const [asked, again] = useStored(api, ids);
  if (asked.at !== 'there') {
    return <Waiting asked={asked} words={words} retry={again} />;
  }
  const both = asked.value;
  const names = both.map((one, i) => `${'AB'[i]}: ${when(one.summary.started_at)}`);
  const metrics = both.map(one => one.run.started?.share.metric ?? '');
  const end_s = Math.max(...both.map(one => one.run.end_s));
  const metric = metrics[0] ?? '';
  return (
    <div className="jp-GpuPredict-compare">
      {both.some(one => one.partial) && <Reading words={words} />}
      {metrics[0] !== metrics[1] && (
        <p className="jp-GpuPredict-warning">
          {trans.__('The two were judged by different metrics: their shares cannot be set against each other.')}
        </p>
      )}
      {both.some(one => one.summary.simulated) && (
        <p className="jp-GpuPredict-warning">{trans.__('SIMULATED readings are among them.')}</p>
      )}
      <Plot
        title={words.metric(metric)}
        summary={trans.__(
          '%1 of two runs over time. A: %2. B: %3',
          words.metric(metric),
          both[0]?.answer.headline ?? '',
          both[1]?.answer.headline ?? ''
        )}
        lines={both.map((one, i) => ({
          name: names[i] as string,
          color: i === 0 ? '--gp-share' : '--gp-line-1',
          rows: one.run.share?.rows ?? []
        }))}
        end_s={end_s}
        top={1}
        format={formatter(metric, words)}
        words={words}
        height={160}
      />
      <table className="jp-GpuPredict-facts">
        <thead>
          <tr>
            <th scope="col">{trans.__('figure')}</th>
            <th scope="col">A</th>
            <th scope="col">B</th>
          </tr>
        </thead>
        <tbody>
          {rows(both, trans).map(([name, a, b]) => (
            <tr key={name} data-differs={a !== b}>
              <th scope="row">{name}</th>
              <td>{a}</td>
              <td>{b}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** What is known of either: the answers, then their details by name. */
function rows(both: IStored[], trans: TranslationBundle): [string, string, string][] {
  const each = both.map(({ answer, summary }) => {
    const { usage, memory, measuring } = answer.details;
    return new Map([
      [trans.__('answer'), answer.headline],
      [trans.__('state'), answer.word],
      [trans.__('meaning'), answer.meaning],
      [trans.__('evidence'), answer.evidence],
      ...[...usage, ...memory, ...measuring].map(row => [row.label, row.value] as const),
      [trans.__('code'), summary.code_hash?.slice(0, 12) ?? '-']
    ]);
  });
  const names = new Set(each.flatMap(one => [...one.keys()]));
  return [...names].map(name => [name, each[0]?.get(name) ?? '-', each[1]?.get(name) ?? '-']);
}
