/** Small parts that several views are made of. */
import * as React from 'react';

import type { Schemas } from '../api';
import type { Words } from '../words';

/** Nothing to show: why, and what to do next. */
export function Empty(props: {
  why: string;
  next?: string;
  detail?: string;
  action?: string;
  onAction?: () => void;
}): React.ReactElement {
  return (
    <div className="jp-GpuPredict-empty">
      <p className="jp-GpuPredict-why">{props.why}</p>
      {props.next && <p>{props.next}</p>}
      {props.detail && <p className="jp-GpuPredict-small">{props.detail}</p>}
      {props.action && (
        <button type="button" className="jp-GpuPredict-button" onClick={props.onAction}>
          {props.action}
        </button>
      )}
    </div>
  );
}

/** A share of something, as a bar and in figures; or why there is none. */
export function Meter(props: {
  label: string;
  ratio: number | null;
  text: string;
  missing?: string;
}): React.ReactElement {
  const { label, ratio, text, missing } = props;
  if (ratio === null) {
    return (
      <div className="jp-GpuPredict-meter">
        <span className="jp-GpuPredict-meterLabel">{label}</span>
        <span className="jp-GpuPredict-missing">{missing}</span>
      </div>
    );
  }
  const percent = Math.round(100 * Math.min(1, Math.max(0, ratio)));
  return (
    <div className="jp-GpuPredict-meter">
      <span className="jp-GpuPredict-meterLabel">{label}</span>
      <span
        className="jp-GpuPredict-bar"
        role="meter"
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={percent}
        aria-valuetext={text}
      >
        <span className="jp-GpuPredict-barFill" style={{ width: `${percent}%` }} />
      </span>
      <span className="jp-GpuPredict-meterText">{text}</span>
    </div>
  );
}

/** Terms and what is known of them; a term that needs it says what it means when asked. */
export function Facts(props: { rows: readonly Schemas['Row'][] }): React.ReactElement {
  return (
    <table className="jp-GpuPredict-facts">
      <tbody>
        {props.rows.map(({ label, value, help }) => (
          <tr key={label}>
            <th scope="row">
              {help ? (
                <details className="jp-GpuPredict-help">
                  <summary>
                    {label} <span aria-hidden>?</span>
                  </summary>
                  {help}
                </details>
              ) : (
                label
              )}
            </th>
            <td>{value}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** A text with a capital at its beginning. */
export function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A wall-clock time in the user's own form. */
export function when(iso: string): string {
  const date = new Date(iso);
  return Number.isNaN(date.getTime())
    ? iso
    : date.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
}

/** What an exception says. */
export function problemOf(error: unknown): { message: string; hint: string } {
  const message = error instanceof Error ? error.message : String(error);
  const hint = error instanceof Error && 'hint' in error ? String(error.hint) : '';
  return { message, hint };
}

/** How something that was asked for stands. */
export type Asked<T> =
  | { at: 'loading' }
  | { at: 'there'; value: T }
  | { at: 'failed'; message: string; hint: string };

/** Ask when `key` changes; an answer that comes too late is dropped. */
export function useAsked<T>(key: string, ask: () => Promise<T>): [Asked<T>, () => void] {
  const [asked, setAsked] = React.useState<Asked<T>>({ at: 'loading' });
  const [round, setRound] = React.useState(0);
  React.useEffect(() => {
    let wanted = true;
    setAsked({ at: 'loading' });
    ask().then(
      value => wanted && setAsked({ at: 'there', value }),
      (error: unknown) => wanted && setAsked({ at: 'failed', ...problemOf(error) })
    );
    return () => {
      wanted = false;
    };
  }, [key, round]);
  return [asked, () => setRound(count => count + 1)];
}

/** A long run is drawn as far as it was read. */
export function Reading(props: { words: Words }): React.ReactElement {
  return (
    <p className="jp-GpuPredict-small jp-GpuPredict-reading" role="status">
      {props.words.trans.__('A long run: what was read so far is drawn; the rest is being read…')}
    </p>
  );
}

/** Loading, or failed with a way to try again. */
export function Waiting(props: {
  asked: { at: 'loading' } | { at: 'failed'; message: string; hint: string };
  words: Words;
  retry: () => void;
}): React.ReactElement {
  const trans = props.words.trans;
  return props.asked.at === 'loading' ? (
    <Empty why={trans.__('Loading…')} />
  ) : (
    <Empty
      why={props.asked.message}
      next={props.asked.hint}
      action={trans.__('Retry')}
      onAction={props.retry}
    />
  );
}
