/** One run, live or stored: what is predicted, on what it rests, and the readings. */
import * as React from 'react';

import type { Outcome } from '../api';
import type { IRow, Track } from '../track';
import type { Run } from '../run';
import type { ISettings } from '../settings';
import { STATE_SIGNS, Words } from '../words';
import { Facts } from './parts';
import { Plot } from './plot';

const COLORS = ['--jp-brand-color1', '--jp-success-color0', '--jp-warn-color0', '--jp-info-color0'];
/** Of several devices in one picture, the first as in its own. */
const SEVERAL = [...COLORS, '--jp-error-color1', '--jp-ui-font-color2', '--jp-accent-color1', '--jp-warn-color2'];

/** Predictions beside the main one that are listed; a distributed run may have many. */
const MAX_BESIDE = 8;

export interface IRunCardProps {
  run: Run;
  outcome: Outcome;
  words: Words;
  settings: ISettings;
  /** Whether all of it is drawn, not only the newest stretch. */
  whole?: boolean;
  children?: React.ReactNode;
}

export function RunCard(props: IRunCardProps): React.ReactElement {
  const { run, outcome, words, settings } = props;
  const trans = words.trans;
  const started = run.started;
  const told = run.recommendation;
  const live = outcome === 'running';
  const state = told?.state ?? run.state;
  const headline = told ? words.prediction(told) : trans.__('no figure yet');
  const metric = started ? words.metric(started.share.metric) : '';
  const missing = started ? run.missing.get(started.share.metric) : undefined;
  const share = run.share;
  const from_s =
    props.whole || !live ? 0 : Math.max(0, run.end_s - settings.historySeconds);
  const shown = (rows: readonly IRow[]) => rows.filter(row => row.t >= from_s);
  const others = [...run.tracks.keys()].filter(
    name => name !== started?.share.metric && wanted(name, started?.memory?.metric, settings.metrics)
  );
  return (
    <div className="jp-GpuPredict-run" data-run={run.id} data-seq={run.seq} data-end={run.end_s} data-outcome={outcome}>
      <p className="jp-GpuPredict-head">
        <span className="jp-GpuPredict-state" data-state={state}>
          <span aria-hidden>{STATE_SIGNS[state] ?? ''}</span> {words.state(state)}
        </span>
        <span>
          {live
            ? trans.__('running for %1', words.span(run.end_s))
            : trans.__('%1 after %2', words.outcome(outcome), words.span(run.finished?.duration_s ?? run.end_s))}
        </span>
      </p>
      <p className="jp-GpuPredict-headline">{headline}</p>
      {told?.capped && <p className="jp-GpuPredict-warning">{told.reason}</p>}
      {run.others.slice(0, MAX_BESIDE).map(other => (
        <p key={`${other.metric} ${other.device} ${other.rank}`} className="jp-GpuPredict-small">
          {trans.__('beside it: %1', started ? words.beside(other, started) : words.prediction(other))}
        </p>
      ))}
      {run.others.length > MAX_BESIDE && (
        <p className="jp-GpuPredict-small">
          {trans.__('and %1 more, in the result in the notebook', run.others.length - MAX_BESIDE)}
        </p>
      )}
      {run.verified && (
        <p className="jp-GpuPredict-small">{trans.__('verified: %1', run.verified)}</p>
      )}
      {started && (
        <p className={started.simulated ? 'jp-GpuPredict-warning' : 'jp-GpuPredict-small'}>
          {words.label(started)}
        </p>
      )}
      {run.lost && (
        <p className="jp-GpuPredict-warning" role="status">
          {trans.__('No readings now: %1. %2', words.reason(run.lost.reason), words.help(run.lost.reason))}
        </p>
      )}
      <dl className="jp-GpuPredict-now">
        <Figure name={live ? trans.__('now') : trans.__('last')} text={words.percent(share?.last)} />
        <Figure name={trans.__('covers')} text={words.percent(told?.target_ratio)} />
        <Figure name={trans.__('coverage')} text={words.percent(told?.coverage_ratio)} />
        <Figure
          name={trans.__('memory')}
          text={words.size(told?.memory?.target_bytes ?? told?.memory?.peak_bytes)}
        />
      </dl>
      <Progress run={run} words={words} />
      {started && settings.metrics.includes('share') && share && share.rows.length > 0 && (
        <Plot
          title={metric}
          summary={trans.__(
            '%1 over time: now %2, highest %3. %4',
            metric,
            words.percent(share.last),
            words.percent(share.peak),
            headline
          )}
          lines={[{ name: metric, color: COLORS[0] as string, rows: shown(share.rows) }]}
          level={told?.target_ratio ?? null}
          windows={run.windows}
          from_s={from_s}
          end_s={run.end_s}
          top={1}
          format={value => words.percent(value)}
          words={words}
        />
      )}
      {started && settings.metrics.includes('share') && share && run.further.size > 0 && (
        <Plot
          title={trans.__('%1 of each device', metric)}
          summary={trans.__(
            '%1 of each device over time: %2',
            metric,
            devices(run, words)
              .map(({ name, track }) => `${name} ${words.percent(track.last)}`)
              .join(', ')
          )}
          lines={devices(run, words).map(({ name, track }, i) => ({
            name,
            color: SEVERAL[i % SEVERAL.length] as string,
            rows: shown(track.rows)
          }))}
          from_s={from_s}
          end_s={run.end_s}
          top={1}
          format={value => words.percent(value)}
          words={words}
        />
      )}
      {started && (!share || share.rows.length === 0) && (
        <p className="jp-GpuPredict-small">
          {trans.__('%1: %2', metric, words.reason(missing?.reason ?? 'no_data_yet'))}
          {missing?.detail ? ` (${missing.detail})` : ''}
        </p>
      )}
      {others.map((name, i) => {
        const track = run.tracks.get(name);
        const format = formatter(name, words);
        return track && track.rows.length > 0 ? (
          <Plot
            key={name}
            title={words.metric(name)}
            summary={trans.__(
              '%1 over time: now %2, highest %3',
              words.metric(name),
              track.last === null ? '-' : format(track.last),
              track.peak === null ? '-' : format(track.peak)
            )}
            lines={[
              { name: words.metric(name), color: COLORS[1 + (i % 3)] as string, rows: shown(track.rows) }
            ]}
            from_s={from_s}
            end_s={run.end_s}
            top={name.endsWith('_ratio') ? 1 : null}
            format={format}
            binary={name.endsWith('_bytes')}
            words={words}
            height={100}
          />
        ) : null;
      })}
      <details>
        <summary>{trans.__('Figures')}</summary>
        <Facts rows={facts(run, words)} />
      </details>
      {props.children}
    </div>
  );
}

function Figure(props: { name: string; text: string }): React.ReactElement {
  return (
    <div>
      <dt>{props.name}</dt>
      <dd>{props.text}</dd>
    </div>
  );
}

function Progress({ run, words }: { run: Run; words: Words }): React.ReactElement | null {
  const told = run.recommendation;
  const made = run.progress;
  if (run.finished || (!made && !run.phase)) {
    return null;
  }
  const trans = words.trans;
  const text = [
    made &&
      (made.total
        ? trans.__('%1 %2 of %3', made.unit, String(Math.floor(made.done)), String(made.total))
        : trans.__('%1 %2', made.unit, String(Math.floor(made.done)))),
    run.phase && trans.__('phase %1', run.phase),
    told && words.timeLeft(told)
  ]
    .filter(Boolean)
    .join(' · ');
  return (
    <p className="jp-GpuPredict-small">
      {made?.total ? (
        <progress value={made.done} max={made.total} aria-label={trans.__('progress')} />
      ) : null}{' '}
      {text}
    </p>
  );
}

/** The tracks of the judged metric of all devices, the judged one first. */
function devices(run: Run, words: Words): { name: string; track: Track }[] {
  const { started, share } = run;
  if (!started || !share) {
    return [];
  }
  return [{ ...started.share, track: share }, ...run.further.values()].map(one => ({
    name: words.device(one, started),
    track: one.track
  }));
}

/** All that is known, in words. */
export function facts(run: Run, words: Words): [string, string][] {
  const trans = words.trans;
  const told = run.recommendation;
  const started = run.started;
  const allocator = run.finished?.allocator ?? null;
  const missing = [...run.missing.entries()].map(
    ([name, { reason, detail }]) =>
      `${words.metric(name)}: ${words.reason(reason)}${detail ? ` (${detail})` : ''}`
  );
  return [
    [trans.__('state'), run.reason],
    [trans.__('mean'), told ? words.percent(told.mean_ratio) : ''],
    [trans.__('certified'), told ? words.certified(told) : ''],
    [trans.__('bounds'), told ? words.bounds(told) : ''],
    [trans.__('memory'), told ? words.memory(told.memory) : ''],
    [
      trans.__('framework memory'),
      allocator
        ? trans.__(
            'at most %1 in tensors, %2 reserved (since the process began)',
            words.size(allocator.allocated_bytes),
            words.size(allocator.reserved_bytes)
          )
        : ''
    ],
    [trans.__('time left'), told && !run.finished ? words.timeLeft(told) : ''],
    [trans.__('last time'), started?.last_time ?? ''],
    [trans.__('readings cover'), told ? trans.__('%1 of the run', words.percent(told.sampled_ratio)) : ''],
    [trans.__('gaps'), run.gaps_s > 0 ? trans.__('%1 without readings', words.span(run.gaps_s)) : ''],
    [
      trans.__('own cost'),
      run.finished
        ? trans.__('%1 s of CPU in %2', run.finished.overhead_s.toFixed(1), words.span(run.finished.duration_s))
        : ''
    ],
    [trans.__('not available'), missing.join('; ')],
    [trans.__('problems'), run.problems.join('; ')],
    [
      trans.__('not shown'),
      run.skipped > 0 ? trans._n('%1 event', '%1 events', run.skipped, String(run.skipped)) : ''
    ],
    [trans.__('notes'), started?.notes.join('; ') ?? ''],
    [trans.__('device'), started?.devices.map(one => `${one.name} (${one.uuid})`).join('; ') ?? ''],
    [trans.__('kernel'), started ? trans.__('process %1 on %2', String(started.pid), started.host) : ''],
    [trans.__('run'), run.id]
  ];
}

/** Whether the settings ask for this metric beside the share. */
function wanted(name: string, memory: string | undefined, metrics: readonly string[]): boolean {
  if (name === memory) {
    return metrics.includes('memory');
  }
  return (name === 'power_watts' && metrics.includes('power')) || metrics.includes('all');
}

/** How values of a metric are written. */
export function formatter(name: string, words: Words): (value: number) => string {
  if (name.endsWith('_ratio')) {
    return value => words.percent(value);
  }
  return name.endsWith('_bytes') ? value => words.size(value) : value => `${Math.round(value)} W`;
}
