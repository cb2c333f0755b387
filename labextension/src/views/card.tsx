/** The answer of a run, as the server words it: what it needs, and how sure that is. */
import * as React from 'react';

import type { IAnswer } from '../api';
import type { IRow } from '../track';
import type { Words } from '../words';
import { Facts } from './parts';

const ROWS = 90;
const WIDTH = 180;
const HEIGHT = 36;

type Action = IAnswer['actions'][number];

export interface ICardProps {
  answer: IAnswer;
  /** Readings of the judged share, for the small picture. */
  rows: readonly IRow[];
  words: Words;
  /** Do what a button says; `details` is the card's own. */
  act: (action: Action) => void;
  /** Further buttons. */
  children?: React.ReactNode;
}

export function Card({ answer, rows, words, act, children }: ICardProps): React.ReactElement {
  const trans = words.trans;
  const [open, setOpen] = React.useState(false);
  const { details } = answer;
  const groups = [
    [trans.__('Usage'), details.usage],
    [trans.__('Memory'), details.memory],
    [trans.__('Measuring'), details.measuring]
  ] as const;
  return (
    <div className="jp-GpuPredict-card" data-tone={answer.tone} data-word={answer.word}>
      <div className="jp-GpuPredict-answer">
        <h4 className="jp-GpuPredict-headline">
          <span className="jp-GpuPredict-sign" aria-hidden>
            {answer.sign}
          </span>{' '}
          {together(answer.headline)}
        </h4>
        <p className="jp-GpuPredict-word">{answer.word}</p>
        <p className="jp-GpuPredict-meaning" title={answer.meaning}>
          {answer.meaning}
        </p>
        <Spark rows={rows} level={answer.figure?.high_ratio ?? null} />
        <p className="jp-GpuPredict-evidence" title={answer.evidence}>
          {answer.evidence}
        </p>
      </div>
      {answer.notes.map(note => (
        <p key={note} className="jp-GpuPredict-note">
          {note}
        </p>
      ))}
      {answer.devices.length > 0 && <Devices answer={answer} words={words} />}
      <p className="jp-GpuPredict-buttons">
        {answer.actions.map(action => (
          <button
            key={action.id}
            type="button"
            className={`jp-GpuPredict-button ${action.id === 'export' ? 'jp-mod-accept' : ''}`}
            title={action.command}
            aria-expanded={action.id === 'details' ? open : undefined}
            onClick={() => (action.id === 'details' ? setOpen(now => !now) : act(action))}
          >
            {action.label}
          </button>
        ))}
        {children}
      </p>
      {open && (
        <div className="jp-GpuPredict-details">
          {groups
            .filter(([, rows]) => rows.length > 0)
            .map(([name, rows]) => (
              <React.Fragment key={name}>
                <h5>{name}</h5>
                <Facts rows={rows} />
              </React.Fragment>
            ))}
          <p className="jp-GpuPredict-small jp-GpuPredict-ids">
            {[...details.problems, details.ids].join('\n')}
          </p>
        </div>
      )}
    </div>
  );
}

/** The text with its numbers and their units on the same line. */
function together(text: string): string {
  return text.replace(/(\d) (?=%|[GM]iB)/g, '$1\u00a0');
}

/** One row for each device or rank, as equal cards are told apart by index, profile and id. */
function Devices({ answer, words }: { answer: IAnswer; words: Words }): React.ReactElement {
  const trans = words.trans;
  return (
    <table className="jp-GpuPredict-facts jp-GpuPredict-deviceRows">
      <thead>
        <tr>
          <th scope="col">{trans.__('device')}</th>
          <th scope="col">{trans.__('share')}</th>
          <th scope="col">{trans.__('memory')}</th>
          <th scope="col">{trans.__('state')}</th>
        </tr>
      </thead>
      <tbody>
        {answer.devices.map(one => (
          <tr key={`${one.rank} ${one.uuid}`} data-tone={one.tone}>
            <th scope="row">
              {[
                one.rank === null ? '' : trans.__('rank %1', one.rank),
                one.index === null ? '' : String(one.index),
                one.name,
                one.mig && `MIG ${one.mig}`,
                `…${one.ending}`
              ]
                .filter(Boolean)
                .join(' ')}
            </th>
            <td>{one.share}</td>
            <td>{one.memory}</td>
            <td>
              <span className="jp-GpuPredict-sign" aria-hidden>
                {one.sign}
              </span>{' '}
              {one.lost ? trans.__('%1, lost', one.word) : one.word}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The readings in little, with the figure as a line; told in words beside it. */
function Spark(props: { rows: readonly IRow[]; level: number | null }): React.ReactElement {
  const step = Math.max(1, Math.ceil(props.rows.length / ROWS));
  const rows = props.rows.filter((_, i) => i % step === 0);
  const from = rows[0]?.t ?? 0;
  const span = Math.max(1e-9, (rows.at(-1)?.t ?? 0) - from);
  const y = (ratio: number) => (2 + (HEIGHT - 4) * (1 - Math.min(1, ratio))).toFixed(1);
  const lines: string[][] = [[]];
  for (const row of rows) {
    if (row.high === null) {
      lines.push([]); // nothing was read: the line breaks
    } else {
      lines.at(-1)?.push(`${((WIDTH * (row.t - from)) / span).toFixed(1)},${y(row.high)}`);
    }
  }
  return (
    <svg className="jp-GpuPredict-spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} aria-hidden preserveAspectRatio="none">
      {lines.filter(one => one.length > 1).map(one => (
        <polyline key={one[0]} points={one.join(' ')} />
      ))}
      {props.level !== null && <line x1={0} x2={WIDTH} y1={y(props.level)} y2={y(props.level)} />}
    </svg>
  );
}
