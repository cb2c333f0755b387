/** One run, live or stored: its answer, and the readings over time. */
import * as React from 'react';

import type { Outcome } from '../api';
import type { Run } from '../run';
import type { IRow, Track } from '../track';
import { Card } from './card';
import { Compare } from './compare';
import { Curve } from './curve';
import { Empty, Reading, problemOf } from './parts';
import { IPlotProps, Plot } from './plot';
import { useStored } from './stored';
import type { IViewProps } from './view';

export interface IRunCardProps extends IViewProps {
  run: Run;
  outcome: Outcome;
  /** Whether all of it is drawn, not only the newest stretch. */
  whole?: boolean;
  children?: React.ReactNode;
}

export function RunCard(props: IRunCardProps): React.ReactElement {
  const { api, run, outcome, words, settings, actions } = props;
  const trans = words.trans;
  const [against, setAgainst] = React.useState('');
  const [all, setAll] = React.useState(false);
  const live = outcome === 'running';
  const compare = async () => {
    try {
      const code = run.started?.code_hash ?? '';
      const found = code ? (await api.sessions(code, run.id, 1)).sessions[0] : undefined;
      if (found) {
        setAgainst(found.session_id);
      } else {
        actions.notify(trans.__('This code has not been measured before. History compares any two runs.'));
      }
    } catch (error) {
      actions.notify(problemOf(error).message);
    }
  };
  if (against) {
    return (
      <>
        <p className="jp-GpuPredict-buttons">
          <button type="button" className="jp-GpuPredict-button" onClick={() => setAgainst('')}>
            {trans.__('Back')}
          </button>
        </p>
        <Compare {...props} ids={[run.id, against]} />
      </>
    );
  }
  const long = live && run.end_s > settings.historySeconds;
  return (
    <div
      className="jp-GpuPredict-run"
      data-run={run.id}
      data-seq={run.seq}
      data-skipped={run.skipped}
      data-outcome={outcome}
    >
      {run.answer ? (
        <Card
          answer={run.answer}
          rows={run.share?.rows ?? []}
          words={words}
          act={action => {
            if (action.id === 'export') {
              actions.openExport(run.id);
            } else if (action.id === 'compare') {
              void compare();
            } else {
              actions.offer(action.command);
            }
          }}
        >
          {props.children}
        </Card>
      ) : (
        <Empty why={trans.__('Loading…')} />
      )}
      {run.lost && (
        <p className="jp-GpuPredict-warning" role="status">
          {trans.__('No readings now: %1. %2', words.reason(run.lost.reason), words.help(run.lost.reason))}
        </p>
      )}
      {all && long ? (
        <Whole key={Math.floor(run.end_s / 60)} {...props} />
      ) : (
        <Charts {...props} from_s={props.whole || !live ? 0 : Math.max(0, run.end_s - settings.historySeconds)} />
      )}
      {run.answer?.need && <Curve need={run.answer.need} points={run.answer.points} words={words} />}
      {long && (
        <p className="jp-GpuPredict-buttons">
          <button type="button" className="jp-GpuPredict-button" aria-pressed={all} onClick={() => setAll(!all)}>
            {trans.__('Whole run')}
          </button>
        </p>
      )}
    </div>
  );
}

/** All of a run that still goes on, from the store. */
function Whole(props: IRunCardProps): React.ReactElement {
  const [asked] = useStored(props.api, [props.run.id]);
  const found = asked.at === 'there' ? asked.value[0] : undefined;
  if (!found) {
    return <Reading words={props.words} />;
  }
  return (
    <>
      {found.partial && <Reading words={props.words} />}
      <Charts {...props} run={found.run} from_s={0} />
    </>
  );
}

function Charts(props: IRunCardProps & { from_s: number }): React.ReactElement {
  const { run, words, settings, from_s } = props;
  const trans = words.trans;
  const { started, share } = run;
  if (!started) {
    return <></>;
  }
  const shown = (rows: readonly IRow[]) => rows.filter(row => row.t >= from_s);
  const name = words.metric(started.share.metric);
  const missing = run.missing.get(started.share.metric);
  const level = run.answer?.figure?.high_ratio ?? null;
  const common = { from_s, end_s: run.end_s, marks: run.marks, words };
  const others = [...run.tracks.keys()].filter(
    one => one !== started.share.metric && wanted(one, started.memory?.metric, settings.metrics)
  );
  const each = devices(run, words);
  return (
    <>
      {settings.metrics.includes('share') && share && share.rows.length > 0 && (
        <Plot
          {...common}
          title={name}
          summary={trans.__(
            '%1 over time: now %2, highest %3',
            name, words.percent(share.last), words.percent(share.peak)
          )}
          lines={[{ name, color: '--gp-share', rows: shown(share.rows) }]}
          level={level === null ? null : { at: level, text: words.percent(level) }}
          windows={run.windows}
          top={1}
          format={value => words.percent(value)}
        />
      )}
      {settings.metrics.includes('share') && each.length > 1 && (
        <Plot
          {...common}
          title={trans.__('%1 of each device', name)}
          summary={trans.__(
            '%1 of each device over time: %2',
            name, each.map(one => `${one.name} ${words.percent(one.track.last)}`).join(', ')
          )}
          lines={each.map((one, i) => ({
            name: one.name,
            color: i === 0 ? '--gp-share' : `--gp-line-${i}`,
            rows: shown(one.track.rows)
          }))}
          top={1}
          format={value => words.percent(value)}
        />
      )}
      {(!share || share.rows.length === 0) && (
        <p className="jp-GpuPredict-small">
          {trans.__('%1: %2', name, words.reason(missing?.reason ?? 'no_data_yet'))}
          {missing?.detail ? ` (${missing.detail})` : ''}
        </p>
      )}
      {others.map(metric => {
        const track = run.tracks.get(metric);
        return track && track.rows.length > 0 ? (
          <Plot key={metric} {...common} {...other(metric, track, props)} lines={[
            { name: words.metric(metric), color: colorOf(metric), rows: shown(track.rows) }
          ]} />
        ) : null;
      })}
    </>
  );
}

/** How a metric beside the judged share is drawn: memory up to what the card has. */
function other(
  metric: string,
  track: Track,
  { run, words }: IRunCardProps
): Pick<IPlotProps, 'title' | 'summary' | 'level' | 'top' | 'format' | 'binary' | 'height'> {
  const format = formatter(metric, words);
  const name = words.metric(metric);
  const binary = metric.endsWith('_bytes');
  const judged = metric === run.started?.memory?.metric;
  const needed = judged ? (run.answer?.memory_bytes ?? null) : null;
  const card = run.started?.devices.find(one => one.uuid === run.started?.share.device);
  const total = binary && metric !== 'rss_bytes' ? (card?.memory_total_bytes ?? null) : null;
  return {
    title: name,
    summary: words.trans.__(
      '%1 over time: now %2, highest %3',
      name,
      track.last === null ? '-' : format(track.last),
      track.peak === null ? '-' : format(track.peak)
    ),
    level: needed === null ? null : { at: needed, text: format(needed) },
    top: metric.endsWith('_ratio') ? 1 : total,
    format,
    binary,
    height: 110
  };
}

/** The tracks of the judged metric of all devices, the judged one first. */
function devices(run: Run, words: IViewProps['words']): { name: string; track: Track }[] {
  const { started, share } = run;
  if (!started || !share) {
    return [];
  }
  return [{ ...started.share, track: share }, ...run.further.values()].map(one => ({
    name: words.device(one, started),
    track: one.track
  }));
}

/** Whether the settings ask for this metric beside the share. */
function wanted(name: string, memory: string | undefined, metrics: readonly string[]): boolean {
  if (name === memory) {
    return metrics.includes('memory');
  }
  return (name === 'power_watts' && metrics.includes('power')) || metrics.includes('all');
}

function colorOf(metric: string): string {
  return metric.endsWith('_bytes') ? '--gp-memory' : '--gp-line-1';
}

/** How values of a metric are written. */
export function formatter(name: string, words: IViewProps['words']): (value: number) => string {
  if (name.endsWith('_ratio')) {
    return value => words.percent(value);
  }
  return name.endsWith('_bytes') ? value => words.size(value) : value => `${Math.round(value)} W`;
}
