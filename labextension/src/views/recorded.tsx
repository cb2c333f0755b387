/** What a recording says: a log that the user has, or a profile, read and kept as a run. */
import * as React from 'react';

import { IReadOptions, ISchema, SCHEMAS } from '../api';
import type { Words } from '../words';
import { One } from './onerun';
import { Field } from './options';
import { sentence } from './parts';
import type { IViewProps } from './view';

type Name = keyof IReadOptions;
type Given = Partial<Record<Name, string>>;
const DESCRIBED = SCHEMAS.ReadOptions.properties as Record<Name, ISchema>;

function labels({ trans }: Words): Record<Name, string> {
  return {
    device: trans.__('Device'),
    columns: trans.__('Columns'),
    interval_s: trans.__('Seconds between rows'),
    sms: trans.__('SMs of the GPU'),
    compute_capability: trans.__('Compute capability'),
    speed: trans.__('Share of full speed to keep')
  };
}

/** A text with the names of the fields in place of those of the command line. */
function worded(text: string, named: Record<Name, string>): string {
  return text.replace(/--([a-z][a-z-]*)/g, (flag, name: string) => {
    const found = Object.entries(named).find(([one]) => flagOf(one) === name);
    return found ? `“${found[1]}”` : flag;
  });
}

function flagOf(name: string): string {
  return name.replace(/_s$/, '').replaceAll('_', '-');
}

/** What was entered, as the server takes it. */
function read(given: Given): IReadOptions {
  const entered = Object.entries(given).map(([name, text]) => [name, text.trim()]);
  return Object.fromEntries(entered.filter(([, text]) => text));
}

export function Recorded(props: IViewProps): React.ReactElement {
  const { model, words, actions } = props;
  const trans = words.trans;
  const now = model.recording;
  const [given, give] = React.useState<Given>({});
  const chooser = React.useRef<HTMLInputElement>(null);
  const button = React.useRef<HTMLButtonElement>(null);
  React.useEffect(() => give({}), [now?.source]); // they were said of another file
  React.useEffect(() => {
    if (now?.at === 'asked') {
      button.current?.focus();
    }
  }, [now]);
  const source = now?.source;
  const failed = now?.at === 'failed' ? now : null;
  const named = labels(words);
  const said = failed ? `${failed.message} ${failed.hint}` : '';
  const first = (name: string) => Number(said.includes(`--${flagOf(name)}`));
  const names = (Object.keys(named) as Name[]).sort((a, b) => first(b) - first(a)); // what was asked
  return (
    <>
      <p className="jp-GpuPredict-drop">
        {trans.__('Drop a log of a GPU here, or a profile of its kernels.')}{' '}
        <button
          ref={button}
          type="button"
          className="jp-GpuPredict-button"
          disabled={now?.at === 'reading'}
          onClick={() => chooser.current?.click()}
        >
          {trans.__('Choose a file…')}
        </button>
        <input
          ref={chooser}
          type="file"
          hidden
          aria-label={trans.__('Recording')}
          onChange={event => {
            const file = event.target.files?.[0];
            event.target.value = ''; // the same file may be chosen again
            if (file) {
              actions.predictFrom({ file }, {});
            }
          }}
        />
      </p>
      <div role="status">
        {now?.at === 'reading' && (
          <p className="jp-GpuPredict-small">
            <progress aria-label={trans.__('Reading')} /> {trans.__('Reading %1…', now.name)}
          </p>
        )}
        {failed && (
          <div className="jp-GpuPredict-warning">
            <p>{worded(failed.message, named)}</p>
            {failed.hint && <p className="jp-GpuPredict-small">{worded(failed.hint, named)}</p>}
          </div>
        )}
      </div>
      {source && now.at !== 'reading' && (
        <details className="jp-GpuPredict-more" key={now.at} open={failed !== null}>
          <summary>{trans.__('Device, columns and more')}</summary>
          <form
            className="jp-GpuPredict-form"
            onSubmit={event => {
              event.preventDefault();
              actions.predictFrom(source, read(given));
            }}
          >
            {names.map(name => (
              <Field key={name} label={named[name]}>
                <Entry
                  schema={DESCRIBED[name]}
                  value={given[name] ?? ''}
                  change={text => give({ ...given, [name]: text })}
                />
              </Field>
            ))}
            <button type="submit" className="jp-GpuPredict-button">
              {trans.__('Read again')}
            </button>
          </form>
        </details>
      )}
      {now?.at === 'kept' && (
        <>
          {now.runs.map(run => (
            <section key={run.session_id} aria-label={run.headline}>
              <One {...props} id={run.session_id} changed={() => model.touch()} close={() => model.setRecording(null)} />
            </section>
          ))}
          <p className="jp-GpuPredict-buttons">
            <button type="button" className="jp-GpuPredict-button" onClick={() => model.setRecording(null)}>
              {trans.__('Close; it stays in the list')}
            </button>
          </p>
        </>
      )}
    </>
  );
}

function Entry(props: {
  schema: ISchema;
  value: string;
  change: (text: string) => void;
}): React.ReactElement {
  const { schema, value, change } = props;
  return (
    <input
      className="jp-GpuPredict-input"
      title={sentence(schema.description ?? '')}
      type={schema.type === 'string' ? 'text' : 'number'}
      min={schema.minimum}
      max={schema.maximum}
      step={schema.type === 'integer' ? 1 : 'any'}
      maxLength={schema.maxLength}
      placeholder={schema.default === undefined ? '' : String(schema.default)}
      spellCheck={false}
      value={value}
      onChange={event => change(event.target.value)}
    />
  );
}
