/** The export of a run: what it is deployed as, how its GPU is divided, and the files that come of it. */
import * as React from 'react';

import type { IApi, IExported, IExportRequest, IStatus } from '../api';
import type { ISource } from '../notebook';
import { TransportError } from '../transport';
import type { Words } from '../words';
import { IChoice, merged, Obstacle, Obstacles } from './obstacles';
import { Entered, Field, given, ofCode, Option, OPTION_NAMES, OptionName, usual } from './options';
import { problemOf } from './parts';

const TYPING_MS = 400;

export interface IExportProps {
  api: IApi;
  run: string;
  /** A first suggestion for the function's name. */
  name: string;
  /** The notebook to take the function's code from; null: none is open. */
  source: ISource | null;
  words: Words;
  copy: (text: string) => void;
  /** Show a folder below the server's root in the file browser. */
  reveal: (folder: string) => void;
}

type Shown =
  | { at: 'loading' }
  | { at: 'there'; files: IExported }
  | { at: 'refused'; obstacles: readonly Obstacle[] };

type Saved =
  | { at: 'writing' }
  | { at: 'written'; files: IExported }
  | { at: 'failed'; message: string; exists: boolean };

/** A name that Kubernetes takes: lower case, digits and hyphens, at most 63. */
export function asName(text: string): string {
  const name = text
    .toLowerCase()
    .replace(/\.ipynb$/, '')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^[^a-z]+|-+$/g, '')
    .slice(0, 40)
    .replace(/-+$/g, '');
  return name || 'train';
}

/** Options that have a place of their own in the form, or come where they help. */
const PLACED: OptionName[] = [
  ...(['workload', 'sharing', 'name', 'output', 'overwrite'] as const),
  ...(['secrets', 'allow_secrets', 'force'] as const)
];
const MORE = OPTION_NAMES.filter(name => !PLACED.includes(name));

export function ExportForm(props: IExportProps): React.ReactElement {
  const { api, run, words, source } = props;
  const trans = words.trans;
  const [status, setStatus] = React.useState<IStatus | null>(null);
  const [choice, choose] = React.useState<IChoice>({
    entered: { workload: usual('workload'), name: props.name, output: `exports/${props.name}` },
    code: source?.own ?? false
  });
  const [shown, setShown] = React.useState<Shown>({ at: 'loading' });
  const [obstacles, setObstacles] = React.useState<readonly Obstacle[]>([]);
  const [file, setFile] = React.useState('');
  const [saved, setSaved] = React.useState<Saved | null>(null);
  const { entered, code } = choice;

  React.useEffect(() => {
    let wanted = true;
    api.status().then(
      value => wanted && setStatus(value),
      () => undefined // the preview says what is wrong
    );
    return () => {
      wanted = false;
    };
  }, []);

  const request = (preview: boolean, overwrite = false): IExportRequest => ({
    ...given({ ...entered, ...(overwrite ? { overwrite } : {}) }, code),
    preview,
    ...(source && code ? { cells: source.cells(), notebook: source.path } : {})
  });

  const key = JSON.stringify(choice);
  React.useEffect(() => {
    let wanted = true;
    setSaved(null);
    const take = (now: Shown) => {
      if (wanted) {
        setShown(now);
        setObstacles(before => merged(before, now.at === 'refused' ? now.obstacles : [], choice));
      }
    };
    const timer = setTimeout(() => {
      api.export(run, request(true)).then(
        files => take({ at: 'there', files }),
        (error: unknown) => take({ at: 'refused', obstacles: inTheWay(error) })
      );
    }, TYPING_MS);
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, [key]);

  const save = async (overwrite: boolean) => {
    setSaved({ at: 'writing' });
    try {
      const files = await api.export(run, request(false, overwrite));
      setSaved({ at: 'written', files });
      props.reveal(files.output);
    } catch (error) {
      const { message, hint } = problemOf(error);
      const exists = error instanceof TransportError && error.status === 409;
      setSaved({ at: 'failed', message: exists ? message : [message, hint].filter(Boolean).join(': '), exists });
    }
  };

  const targets = status?.targets ?? [];
  const ours = targets.filter(one => one.workload === entered.workload);
  const target = ours.find(one => (entered.sharing ? one.sharing === entered.sharing : one.default));
  const texts = shown.at === 'there' ? shown.files.texts : {};
  const files = Object.keys(texts).sort(manifestFirst);
  const preview = file in texts ? file : (files[0] ?? '');
  const change = (part: Entered) => choose(now => ({ ...now, entered: { ...now.entered, ...part } }));
  const option = (name: OptionName, label?: string) => (
    <Option key={name} {...{ name, label, entered, change, words }} />
  );

  return (
    <div className="jp-GpuPredict-export">
      <div className="jp-GpuPredict-form">
        <Field label={trans.__('Runs as')}>
          <select
            className="jp-GpuPredict-input"
            value={String(entered.workload)}
            onChange={event => change({ workload: event.target.value, sharing: '' })}
          >
            {[...new Map(targets.map(one => [one.workload, one.runs]))].map(([name, line]) => (
              <option key={name} value={name}>
                {[name, line].filter(Boolean).join(': ')}
              </option>
            ))}
            {targets.length === 0 && <option>{String(entered.workload)}</option>}
          </select>
        </Field>
        <Field label={trans.__('Shares its GPU by')}>
          <select
            className="jp-GpuPredict-input"
            value={target?.sharing ?? String(entered.sharing ?? '')}
            onChange={event => change({ sharing: event.target.value })}
          >
            {[...ours].sort((a, b) => Number(b.supported) - Number(a.supported)).map(one => (
              <option key={one.sharing} value={one.sharing}>
                {one.supported
                  ? [one.sharing, one.divides].filter(Boolean).join(': ')
                  : trans.__('%1 (not possible here)', one.sharing)}
              </option>
            ))}
          </select>
        </Field>
        {option('name', trans.__('Name of the function'))}
        {option('output', trans.__('Folder, below the server’s root'))}
      </div>
      {source ? (
        <label className="jp-GpuPredict-check">
          <input
            type="checkbox"
            checked={code}
            onChange={event => choose({ entered, code: event.target.checked })}
          />
          {trans.__('With the function’s code, from the cells of %1', source.path)}
        </label>
      ) : (
        <p className="jp-GpuPredict-small">
          {trans.__('No notebook is open: the folder holds the manifests without the function’s code.')}
        </p>
      )}
      {obstacles.length > 0 && (
        <Obstacles
          shown={obstacles}
          left={shown.at === 'refused' ? shown.obstacles : []}
          {...{ choice, choose, words }}
        />
      )}
      <details className="jp-GpuPredict-more">
        <summary>{trans.__('More options')}</summary>
        <div className="jp-GpuPredict-form">
          {MORE.filter(name => code || !ofCode(name)).map(name => option(name))}
        </div>
      </details>
      {shown.at === 'there' && shown.files.warnings.length > 0 && (
        <details className="jp-GpuPredict-more">
          <summary>
            {trans._n('%1 note on these files', '%1 notes on these files', shown.files.warnings.length)}
          </summary>
          <ul className="jp-GpuPredict-warning" aria-label={trans.__('Notes')}>
            {shown.files.warnings.map(one => (
              <li key={one}>{one}</li>
            ))}
          </ul>
        </details>
      )}
      {shown.at === 'loading' && <Working text={trans.__('Checking…')} />}
      {files.length > 0 && (
        <>
          <Field label={trans.__('Preview of')}>
            <select
              className="jp-GpuPredict-input"
              value={preview}
              onChange={event => setFile(event.target.value)}
            >
              {files.map(one => (
                <option key={one}>{one}</option>
              ))}
            </select>
          </Field>
          <pre className="jp-GpuPredict-preview" tabIndex={0} aria-label={trans.__('Text of %1', preview)}>
            {texts[preview]}
          </pre>
        </>
      )}
      <div className="jp-GpuPredict-foot">
        <p className="jp-GpuPredict-buttons">
          <button
            type="button"
            className="jp-GpuPredict-button jp-mod-accept"
            disabled={shown.at !== 'there' || !entered.output || saved?.at === 'writing'}
            onClick={() => void save(false)}
          >
            {trans.__('Save')}
          </button>
          {saved?.at === 'failed' && saved.exists && (
            <button type="button" className="jp-GpuPredict-button" onClick={() => void save(true)}>
              {trans.__('Overwrite')}
            </button>
          )}
          <button
            type="button"
            className="jp-GpuPredict-button"
            disabled={!preview}
            onClick={() => props.copy(texts[preview] ?? '')}
          >
            {trans.__('Copy this file')}
          </button>
        </p>
        <div role="status">
          {saved?.at === 'writing' && <Working text={trans.__('Writing…')} />}
          {saved?.at === 'failed' && <p className="jp-GpuPredict-warning">{saved.message}</p>}
          {saved?.at === 'written' && <Written files={saved.files} words={words} />}
        </div>
      </div>
    </div>
  );
}

function Working({ text }: { text: string }): React.ReactElement {
  return (
    <p className="jp-GpuPredict-small">
      <progress aria-label={text} /> {text}
    </p>
  );
}

/** The folder that was written, with what is in it. */
function Written({ files, words }: { files: IExported; words: Words }): React.ReactElement {
  return (
    <details className="jp-GpuPredict-written">
      <summary>
        {words.trans._n('%1 file written to %2', '%1 files written to %2', files.paths.length, files.output)}
      </summary>
      <ul>
        {files.paths.map(one => (
          <li key={one}>{one}</li>
        ))}
      </ul>
    </details>
  );
}

/** What is in the way; an error of another kind is one such thing, without a fix. */
function inTheWay(error: unknown): readonly Obstacle[] {
  const { obstacles } = error instanceof TransportError ? error : { obstacles: [] };
  return obstacles.length > 0 ? obstacles : [{ ...problemOf(error), fixes: [] }];
}

/** Manifests come first, then the function, then what is around them in the server's order. */
function manifestFirst(a: string, b: string): number {
  const rank = (name: string) => (name.startsWith('deploy/') ? 0 : name === 'train_fn.py' ? 1 : 2);
  return rank(a) - rank(b);
}
