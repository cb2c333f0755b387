/** Runs that were measured before: search, look at one, compare two. */
import * as React from 'react';

import type { ISummary } from '../api';
import { MAGIC } from '../magic';
import { Compare } from './compare';
import { One } from './onerun';
import { Empty, problemOf, useAsked, Waiting, when } from './parts';
import type { IViewProps } from './view';

const PAGE = 200;
const MAX_LISTED = 1000;
const TYPING_MS = 300;
/** A search of a cold store takes a second at a time. */
const MAX_TRIES = 30;

const ORDERS = ['when', 'headline', 'notebook', 'device', 'duration'] as const;
type Order = (typeof ORDERS)[number];
const WORDS = ['settled', 'provisional', 'settling', 'changed', 'observed', 'not used yet', 'no GPU', 'too short'];

export function History(props: IViewProps): React.ReactElement {
  const { api, model, words } = props;
  const trans = words.trans;
  const [typed, setTyped] = React.useState('');
  const [query, setQuery] = React.useState('');
  const [order, setOrder] = React.useState<Order>('when');
  const [word, setWord] = React.useState('');
  const [older, setOlder] = React.useState<{ runs: ISummary[]; before: string | null } | null>(null);
  const [problem, setProblem] = React.useState('');
  const [chosen, setChosen] = React.useState<readonly string[]>([]);
  const [opened, setOpened] = React.useState<readonly string[]>([]);
  React.useEffect(() => {
    const timer = setTimeout(() => setQuery(typed.trim()), TYPING_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  const newest = model.newest;
  const key = `${query} ${order} ${word} ${newest?.session_id ?? ''} ${newest?.outcome ?? ''} ${model.touched}`;
  const [asked, again] = useAsked(key, async () => {
    setOlder(null);
    let page = await api.sessions(query, null, PAGE, order, word);
    for (let tries = 0; page.searched < page.total && tries < MAX_TRIES; tries++) {
      page = await api.sessions(query, null, PAGE, order, word); // the server goes on where it was
    }
    return page;
  });
  const more = async (before: string) => {
    try {
      const page = await api.sessions(query, before, PAGE, order, word);
      setOlder(now => ({ runs: [...(now?.runs ?? []), ...page.sessions], before: page.before }));
      setProblem('');
    } catch (error) {
      setProblem(problemOf(error).message);
    }
  };
  const toggle = (id: string) =>
    setChosen(now => (now.includes(id) ? now.filter(one => one !== id) : [...now, id].slice(-2)));

  if (opened.length > 0) {
    return (
      <>
        <p className="jp-GpuPredict-buttons">
          <button type="button" className="jp-GpuPredict-button" onClick={() => setOpened([])}>
            {trans.__('Back to the list')}
          </button>
        </p>
        {opened.length === 2 ? (
          <Compare {...props} ids={[opened[0] as string, opened[1] as string]} />
        ) : (
          <One {...props} id={opened[0] as string} changed={again} close={() => setOpened([])} />
        )}
      </>
    );
  }
  const page = asked.at === 'there' ? asked.value : null;
  const runs = page ? [...page.sessions, ...(older?.runs ?? [])].slice(0, MAX_LISTED) : [];
  const shown = [...runs].sort((a, b) => Number(b.pinned) - Number(a.pinned));
  const before = older ? older.before : (page?.before ?? null);
  const orders: Record<Order, string> = {
    when: trans.__('Newest first'),
    headline: trans.__('By share'),
    notebook: trans.__('By notebook'),
    device: trans.__('By device'),
    duration: trans.__('Longest first')
  };
  return (
    <>
      <p className="jp-GpuPredict-search">
        <input
          type="search"
          className="jp-GpuPredict-input"
          maxLength={200}
          value={typed}
          placeholder={trans.__('notebook, code, device, name …')}
          aria-label={trans.__('Search measured runs')}
          onChange={event => setTyped(event.target.value)}
        />
        <select
          className="jp-GpuPredict-input"
          aria-label={trans.__('Order')}
          value={order}
          onChange={event => setOrder(event.target.value as Order)}
        >
          {ORDERS.map(one => (
            <option key={one} value={one}>
              {orders[one]}
            </option>
          ))}
        </select>
        <select
          className="jp-GpuPredict-input"
          aria-label={trans.__('Show only')}
          value={word}
          onChange={event => setWord(event.target.value)}
        >
          <option value="">{trans.__('All')}</option>
          {WORDS.map(one => (
            <option key={one}>{one}</option>
          ))}
        </select>
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
          why={query || word ? trans.__('No run matches “%1”.', query || word) : trans.__('Nothing has been measured yet.')}
          next={
            query || word
              ? trans.__('All words must occur; try fewer.')
              : trans.__('Write %1 on the first line of a training cell, and run it.', MAGIC)
          }
        />
      )}
      {page && runs.length > 0 && (
        <>
          <p className="jp-GpuPredict-small" role="status">
            {query || word
              ? trans.__('%1 shown of %2 that were searched', String(shown.length), String(page.searched))
              : trans.__('%1 of %2 runs', String(shown.length), String(page.total))}
          </p>
          <ul className="jp-GpuPredict-history" aria-label={trans.__('Measured runs')}>
            {shown.map(run => (
              <Item
                key={run.session_id}
                run={run.session_id === newest?.session_id ? { ...run, duration_s: newest.duration_s } : run}
                words={words}
                chosen={chosen.includes(run.session_id)}
                toggle={toggle}
                open={id => setOpened([id])}
              />
            ))}
          </ul>
          {problem && <p className="jp-GpuPredict-warning">{problem}</p>}
          {before && runs.length < MAX_LISTED && (
            <p className="jp-GpuPredict-buttons">
              <button type="button" className="jp-GpuPredict-button" onClick={() => void more(before)}>
                {trans.__('More runs')}
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

interface IItemProps {
  run: ISummary;
  words: IViewProps['words'];
  chosen: boolean;
  toggle: (id: string) => void;
  open: (id: string) => void;
}

function Item({ run, words, chosen, toggle, open }: IItemProps): React.ReactElement {
  const trans = words.trans;
  const ran = run.outcome === 'running';
  const age = ran ? trans.__('running for %1', words.span(run.duration_s)) : words.span(run.duration_s);
  return (
    <li data-tone={run.tone} data-run={run.session_id}>
      <input
        type="checkbox"
        checked={chosen}
        aria-label={trans.__('Compare the run of %1', when(run.started_at))}
        onChange={() => toggle(run.session_id)}
      />
      <button type="button" className="jp-GpuPredict-item" onClick={() => open(run.session_id)}>
        <span className="jp-GpuPredict-itemHead">
          <span className="jp-GpuPredict-sign" title={run.word}>
            {run.sign}
          </span>{' '}
          {run.pinned && <span title={trans.__('pinned')}>★ </span>}
          {run.name || run.headline || run.problem}
        </span>
        <code>{run.first_line}</code>
        <span>{run.notebook.split('/').at(-1)}</span>
        <span>{run.device || run.devices.map(one => one.name).join(', ') || run.source}</span>
        <span>{age}</span>
        <span>{when(run.started_at)}</span>
      </button>
    </li>
  );
}
