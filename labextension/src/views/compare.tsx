/** Two runs side by side, on one time axis. */
import * as React from 'react';

import { Reading, Waiting, when } from './parts';
import { Plot } from './plot';
import { formatter } from './runcard';
import { IStored, useStored } from './stored';
import type { IViewProps } from './view';

const COLORS = ['--jp-brand-color1', '--jp-warn-color0'];

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
          '%1 of two runs over time: A covers %2, B covers %3',
          words.metric(metric),
          words.percent(both[0]?.summary.target_ratio),
          words.percent(both[1]?.summary.target_ratio)
        )}
        lines={both.map((one, i) => ({
          name: names[i] as string,
          color: COLORS[i] as string,
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
          {rows(both, props).map(([name, a, b]) => (
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

function rows(both: IStored[], { words }: IViewProps): [string, string, string][] {
  const trans = words.trans;
  const row = (name: string, text: (one: IStored) => string): [string, string, string] => [
    name,
    both[0] ? text(both[0]) : '',
    both[1] ? text(both[1]) : ''
  ];
  return [
    row(trans.__('state'), ({ summary }) => words.state(summary.state)),
    row(trans.__('outcome'), ({ summary }) => words.outcome(summary.outcome)),
    row(trans.__('covers'), ({ summary }) => words.percent(summary.target_ratio)),
    row(trans.__('coverage'), ({ summary }) => words.percent(summary.coverage_ratio)),
    row(trans.__('mean'), ({ summary }) => words.percent(summary.mean_ratio)),
    row(trans.__('memory peak'), ({ summary }) => words.size(summary.memory_peak_bytes)),
    row(trans.__('memory target'), ({ summary }) => words.size(summary.memory_target_bytes)),
    row(trans.__('duration'), ({ summary }) => words.span(summary.duration_s)),
    row(trans.__('readings'), ({ summary }) => (summary.samples === null ? '-' : String(summary.samples))),
    row(trans.__('device'), ({ summary }) => summary.devices.map(one => one.name).join(', ') || summary.source),
    row(trans.__('code'), ({ summary }) => summary.code_hash?.slice(0, 12) ?? '-')
  ];
}
