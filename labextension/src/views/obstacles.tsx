/** All that is in the way of an export at once, each with what helps as a control. */
import * as React from 'react';

import type { Schemas } from '../api';
import type { Words } from '../words';
import { asNames, Entered, Option, OptionName } from './options';
import { sentence } from './parts';

export type Obstacle = Schemas['Obstacle'];
type Fix = Schemas['Fix'];

/** What was entered, and whether the function's code goes along. */
export interface IChoice {
  entered: Entered;
  code: boolean;
}

/** Whether what a fix asks for is chosen. */
export function holds({ options, asks }: Fix, { entered, code }: IChoice): boolean {
  return Object.entries(options).every(([name, value]) => {
    const now = entered[name as OptionName];
    if (name === 'cells') {
      return !code;
    }
    if (asks) {
      return Boolean(now);
    }
    if (Array.isArray(value)) {
      const names = asNames(String(now ?? ''));
      return value.every(one => names.includes(String(one)));
    }
    return typeof value === 'object' ? !now : value === true ? now === true : String(value) === String(now ?? '');
  });
}

/** Return the choice with a fix taken, or taken back. */
export function chosen({ options }: Fix, on: boolean, { entered, code }: IChoice): IChoice {
  const after = { ...entered };
  for (const [key, value] of Object.entries(options)) {
    const name = key as OptionName;
    if (key === 'cells') {
      code = !on;
    } else if (Array.isArray(value)) {
      const others = asNames(String(after[name] ?? '')).filter(one => !value.map(String).includes(one));
      after[name] = (on ? [...others, ...value] : others).join(', ');
    } else {
      after[name] = !on || value === null || typeof value === 'object' ? '' : value === true || String(value);
    }
  }
  return { entered: after, code };
}

/** Return what is shown: what is in the way now, and before it what was and is met by a choice. */
export function merged(shown: readonly Obstacle[], now: readonly Obstacle[], choice: IChoice): Obstacle[] {
  const messages = now.map(one => one.message);
  const met = shown.filter(one => !messages.includes(one.message) && one.fixes.some(fix => holds(fix, choice)));
  return [...met, ...now];
}

export interface IObstaclesProps {
  shown: readonly Obstacle[];
  /** Those of them that are in the way still. */
  left: readonly Obstacle[];
  choice: IChoice;
  choose: (choice: IChoice) => void;
  words: Words;
}

export function Obstacles({ shown, left, choice, choose, words }: IObstaclesProps): React.ReactElement {
  const trans = words.trans;
  const open = new Set(left.map(one => one.message));
  return (
    <section className="jp-GpuPredict-obstacles" data-left={open.size} aria-label={trans.__('In the way of this export')}>
      <p role="status" className="jp-GpuPredict-why">
        {open.size > 0
          ? trans._n('%1 thing is in the way of this export', '%1 things are in the way of this export', open.size)
          : trans.__('Nothing is in the way any more')}
      </p>
      <ul>
        {shown.map((one, i) => (
          <li key={one.message} data-met={!open.has(one.message)}>
            <p id={`gpupredict-obstacle-${i}`}>
              <span aria-hidden>{open.has(one.message) ? '▲' : '✓'}</span> {sentence(one.message)}
            </p>
            <div role="group" aria-labelledby={`gpupredict-obstacle-${i}`}>
              {one.fixes.map(fix => (
                <Control key={fix.label} {...{ fix, choice, choose, words }} />
              ))}
            </div>
            {one.fixes.length === 0 && one.hint && <p className="jp-GpuPredict-small">{one.hint}</p>}
          </li>
        ))}
      </ul>
    </section>
  );
}

function Control(props: Pick<IObstaclesProps, 'choice' | 'choose' | 'words'> & { fix: Fix }): React.ReactElement {
  const { fix, choice, choose, words } = props;
  const [name, suggested] = Object.entries(fix.options)[0] as [OptionName, unknown];
  if (!fix.asks) {
    return (
      <label className="jp-GpuPredict-check">
        <input
          type="checkbox"
          checked={holds(fix, choice)}
          onChange={event => choose(chosen(fix, event.target.checked, choice))}
        />
        {fix.label}
      </label>
    );
  }
  const change = (part: Entered) => choose({ ...choice, entered: { ...choice.entered, ...part } });
  return (
    <div className="jp-GpuPredict-asks">
      <Option name={name} label={fix.label} entered={choice.entered} change={change} words={words} />
      {suggested !== null && String(suggested) !== choice.entered[name] && (
        <button type="button" className="jp-GpuPredict-button" onClick={() => change({ [name]: String(suggested) })}>
          {words.trans.__('Take %1', String(suggested))}
        </button>
      )}
    </div>
  );
}
