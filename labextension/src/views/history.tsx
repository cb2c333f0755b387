/** Runs that were measured before: search, look at one, compare two. */
import * as React from 'react';

import type { ISummary } from '../api';
import { MAGIC } from '../magic';
import { STATE_SIGNS } from '../words';
import { Compare } from './compare';
import { Empty, Reading, told, useAsked, Waiting, when } from './parts';
import { RunCard } from './runcard';
import { IStored, useStored } from './stored';
import type { IViewProps } from './view';

const PAGE = 50;
const MAX_LISTED = 500;
const TYPING_MS = 300;

export function History(props: IViewProps): React.ReactElement {
  const { api, model, words } = props;
  const trans = words.trans;
  const [typed, setTyped] = React.useState('');
  const [query, setQuery] = React.useState('');
  const [older, setOlder] = React.useState<{ runs: ISummary[]; before: string | null } | null>(null);
  const [problem, setProblem] = React.useState('');
  const [chosen, setChosen] = React.useState<readonly string[]>([]);
  const [opened, setOpened] = React.useState<readonly string[]>([]);
  React.useEffect(() => {
    const timer = setTimeout(() => setQuery(typed.trim()), TYPING_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  const newest = model.newest;
  const key = `${query} ${newest?.session_id ?? ''} ${newest?.outcome ?? ''}`;
  const [asked, again] = useAsked(key, async () => {
    setOlder(null);
    return api.sessions(query, null, PAGE);
  });
  const more = async (before: string) => {
    try {
      const page = await api.sessions(query, before, PAGE);
      setOlder(now => ({ runs: [...(now?.runs ?? []), ...page.sessions], before: page.before }));
      setProblem('');
    } catch (error) {
      setProblem(told(error).message);
    }
  };
  const toggle = (id: string) =>
    setChosen(now => (now.includes(id) ? now.filter(one => one !== id) : [...now, id].slice(-2)));

  if (opened.length > 0) {
    const back = (
      <p className="jp-GpuPredict-buttons">
        <button type="button" className="jp-GpuPredict-button" onClick={() => setOpened([])}>
          {trans.__('Back to the list')}
        </button>
      </p>
    );
    return opened.length === 2 ? (
      <>
        {back}
        <Compare {...props} ids={[opened[0] as string, opened[1] as string]} />
      </>
    ) : (
      <>
        {back}
        <One {...props} id={opened[0] as string} />
      </>
    );
  }
  const page = asked.at === 'there' ? asked.value : null;
  const runs = page ? [...page.sessions, ...(older?.runs ?? [])].slice(0, MAX_LISTED) : [];
  const before = older ? older.before : (page?.before ?? null);
  return (
    <>
      <p className="jp-GpuPredict-search">
        <input
          type="search"
          className="jp-GpuPredict-input"
          maxLength={200}
          value={typed}
          placeholder={trans.__('device, host, state, outcome …')}
          aria-label={trans.__('Search measured runs')}
          onChange={event => setTyped(event.target.value)}
        />
        <button
          type="button"
          className="jp-GpuPredict-button"
          disabled={chosen.length !== 2}
          title={trans.__('Choose two runs to compare them')}
          onClick={() => setOpened(chosen)}
        >
          {trans.__('Compare (%1 of 2)', String(chosen.length))}
        </button>
      </p>
      {asked.at !== 'there' && <Waiting asked={asked} words={words} retry={again} />}
      {page && runs.length === 0 && (
        <Empty
          why={query ? trans.__('No run matches “%1”.', query) : trans.__('Nothing has been measured yet.')}
          next={
            query
              ? trans.__('All words must occur; try fewer.')
              : trans.__('Write %1 on the first line of a training cell, and run it.', MAGIC)
          }
        />
      )}
      {page && runs.length > 0 && (
        <>
          <p className="jp-GpuPredict-small" role="status">
            {query
              ? trans.__('%1 shown of %2 that were searched', String(runs.length), String(page.searched))
              : trans.__('%1 of %2 runs', String(runs.length), String(page.total))}
          </p>
          <ul className="jp-GpuPredict-history" aria-label={trans.__('Measured runs')}>
            {runs.map(run => (
              <li key={run.session_id}>
                <input
                  type="checkbox"
                  checked={chosen.includes(run.session_id)}
                  aria-label={trans.__('Compare the run of %1', when(run.started_at))}
                  onChange={() => toggle(run.session_id)}
                />
                <button
                  type="button"
                  className="jp-GpuPredict-item"
                  onClick={() => setOpened([run.session_id])}
                >
                  <span className="jp-GpuPredict-itemHead">
                    <span>{when(run.started_at)}</span>
                    <span>
                      <span aria-hidden>{STATE_SIGNS[run.state] ?? ''}</span> {words.percent(run.target_ratio)}
                    </span>
                  </span>
                  <span className="jp-GpuPredict-small">
                    {[
                      run.simulated ? trans.__('SIMULATED') : '',
                      run.devices.map(one => one.name).join(', ') || run.source,
                      words.state(run.state),
                      words.outcome(run.outcome),
                      words.span(run.duration_s),
                      run.problem,
                      run.remote ? trans.__('on %1', run.host) : ''
                    ]
                      .filter(Boolean)
                      .join(' · ')}
                  </span>
                </button>
              </li>
            ))}
          </ul>
          {problem && <p className="jp-GpuPredict-warning">{problem}</p>}
          {before && runs.length < MAX_LISTED && (
            <p className="jp-GpuPredict-buttons">
              <button type="button" className="jp-GpuPredict-button" onClick={() => void more(before)}>
                {trans.__('Older runs')}
              </button>
            </p>
          )}
          {runs.length >= MAX_LISTED && (
            <p className="jp-GpuPredict-small">{trans.__('Search to find older runs.')}</p>
          )}
        </>
      )}
    </>
  );
}

function One(props: IViewProps & { id: string }): React.ReactElement {
  const { api, words, settings, actions, id } = props;
  const [asked, again] = useStored(api, [id]);
  if (asked.at !== 'there') {
    return <Waiting asked={asked} words={words} retry={again} />;
  }
  const { summary, run, partial } = asked.value[0] as IStored;
  return (
    <>
      <p className="jp-GpuPredict-small">{when(summary.started_at)}</p>
      {partial && <Reading words={words} />}
      <RunCard run={run} outcome={summary.outcome} words={words} settings={settings} whole>
        <p className="jp-GpuPredict-buttons">
          <button
            type="button"
            className="jp-GpuPredict-button"
            disabled={summary.outcome === 'running'}
            onClick={() => actions.openExport(id)}
          >
            {words.trans.__('Export…')}
          </button>
        </p>
      </RunCard>
    </>
  );
}
