/** The export of a run: what it is deployed as, how its GPU is divided, and the files that come of it. */
import * as React from 'react';

import type { IApi, IExported, IExportRequest, IStatus } from '../api';
import type { ISource } from '../notebook';
import { TransportError } from '../transport';
import type { Words } from '../words';
import { Entered, Field, given, help, ofCode, Option, OPTION_NAMES, OptionName, usual } from './options';
import { told } from './parts';

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
}

/** Whether a refusal can be insisted against, is about the code alone, or about credentials in it. */
type Why = 'insist' | 'code' | 'secrets' | '';

type Shown =
  | { at: 'loading' }
  | { at: 'there'; files: IExported }
  | { at: 'refused'; message: string; hint: string; why: Why };

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

/** Options that have a place of their own in the form, or come when they are needed. */
const PLACED: OptionName[] = [
  ...(['workload', 'sharing', 'name', 'image', 'node_selector', 'output', 'params'] as const),
  ...(['secrets', 'allow_secrets', 'force', 'overwrite'] as const)
];
const MORE = OPTION_NAMES.filter(name => !PLACED.includes(name));

export function ExportForm(props: IExportProps): React.ReactElement {
  const { api, run, words, source } = props;
  const trans = words.trans;
  const [status, setStatus] = React.useState<IStatus | null>(null);
  const [entered, setEntered] = React.useState<Entered>({
    workload: usual('workload'),
    name: props.name,
    output: `exports/${props.name}`
  });
  const [code, setCode] = React.useState(source?.own ?? false);
  const [secretsFound, setSecretsFound] = React.useState(false);
  const [shown, setShown] = React.useState<Shown>({ at: 'loading' });
  const [file, setFile] = React.useState('');
  const [saved, setSaved] = React.useState<{ text: string; good: boolean; exists: boolean } | null>(null);

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

  const refuse = (error: unknown) => {
    const why = whyNot(error);
    setShown({ at: 'refused', ...told(error), why });
    if (why === 'secrets') {
      setSecretsFound(true); // for good: a choice that is taken back keeps its control and the focus
    }
  };

  const key = JSON.stringify([entered, code]);
  React.useEffect(() => {
    let wanted = true;
    setSaved(null);
    const timer = setTimeout(() => {
      api.export(run, request(true)).then(
        files => wanted && setShown({ at: 'there', files }),
        (error: unknown) => wanted && refuse(error)
      );
    }, TYPING_MS);
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, [key]);

  const save = async (overwrite: boolean) => {
    try {
      const written = await api.export(run, request(false, overwrite));
      const count = written.paths.length;
      setSaved({
        text: trans._n('%1 file written to %2', '%1 files written to %2', count, String(count), written.output),
        good: true,
        exists: false
      });
    } catch (error) {
      if (whyNot(error) === 'secrets') {
        setSaved(null);
        refuse(error);
        return;
      }
      const { message, hint } = told(error);
      setSaved({
        text: [message, hint].filter(Boolean).join(': '),
        good: false,
        exists: error instanceof TransportError && error.status === 409
      });
    }
  };

  const targets = status?.targets ?? [];
  const ours = targets.filter(one => one.workload === entered.workload);
  const target = ours.find(one => (entered.sharing ? one.sharing === entered.sharing : one.default));
  const texts = shown.at === 'there' ? shown.files.texts : {};
  const files = Object.keys(texts).sort(manifestFirst);
  const chosen = file in texts ? file : (files[0] ?? '');
  const change = (part: Entered) => setEntered(now => ({ ...now, ...part }));
  const option = (name: OptionName, label?: string, placeholder?: string) => (
    <Option key={name} {...{ name, label, placeholder, entered, change, words }} />
  );

  return (
    <div className="jp-GpuPredict-export">
      <div className="jp-GpuPredict-form">
        <Field label={trans.__('Runs as (workload)')}>
          <select
            className="jp-GpuPredict-input"
            title={help('workload')}
            value={String(entered.workload)}
            onChange={event => change({ workload: event.target.value, sharing: '' })}
          >
            {unique(targets.map(one => one.workload), entered.workload).map(one => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </Field>
        <Field label={trans.__('GPU divided by (sharing)')}>
          <select
            className="jp-GpuPredict-input"
            title={help('sharing')}
            value={target?.sharing ?? String(entered.sharing ?? '')}
            onChange={event => change({ sharing: event.target.value })}
          >
            {ours.map(one => (
              <option key={one.sharing} value={one.sharing}>
                {one.supported ? one.sharing : trans.__('%1 (not possible here)', one.sharing)}
              </option>
            ))}
          </select>
        </Field>
        {option('name', trans.__('Name of the function'))}
        {option('image', trans.__('Container image'), trans.__('built from the folder'))}
        {option('node_selector', trans.__('Labels of the nodes'))}
        {option('output', trans.__('Folder, below the server’s root'))}
        {source && code && option('params', trans.__('Names that the caller gives'), 'data, epochs, …')}
      </div>
      {source ? (
        <label className="jp-GpuPredict-check">
          <input
            type="checkbox"
            checked={code}
            onChange={event => setCode(event.target.checked)}
          />
          {trans.__('With the function’s code, from the cells of %1', source.path)}
        </label>
      ) : (
        <p className="jp-GpuPredict-small">
          {trans.__('No notebook is open: the folder holds the manifests without the function’s code.')}
        </p>
      )}
      <details className="jp-GpuPredict-more">
        <summary>{trans.__('More options')}</summary>
        <div className="jp-GpuPredict-form">
          {MORE.filter(name => code || !ofCode(name)).map(name => option(name))}
        </div>
      </details>
      {target && !target.supported && <p className="jp-GpuPredict-warning">{target.reason}</p>}
      {target?.supported && target.expresses.length > 0 && (
        <p className="jp-GpuPredict-small">
          {trans.__('This pair can carry: %1', target.expresses.map(one => words.limit(one)).join(', '))}
        </p>
      )}
      {shown.at === 'refused' && (
        <div className="jp-GpuPredict-warning" role="alert">
          <p>{shown.message}</p>
          {shown.hint && shown.why !== 'secrets' && <p>{shown.hint}</p>}
          {(shown.why === 'code' || shown.why === 'secrets') && (
            <p>{trans.__('Or leave the function’s code out: the manifests alone can be exported.')}</p>
          )}
        </div>
      )}
      {secretsFound && source && code && (
        <>
          {option('secrets')}
          {option('allow_secrets')}
        </>
      )}
      {(entered.force || (shown.at === 'refused' && shown.why === 'insist')) && option('force')}
      {shown.at === 'there' && shown.files.warnings.length > 0 && (
        <ul className="jp-GpuPredict-warning" aria-label={trans.__('Warnings')}>
          {shown.files.warnings.map(one => (
            <li key={one}>{one}</li>
          ))}
        </ul>
      )}
      {shown.at === 'loading' && <p>{trans.__('Loading…')}</p>}
      {files.length > 0 && (
        <>
          <Field label={trans.__('Preview of')}>
            <select
              className="jp-GpuPredict-input"
              value={chosen}
              onChange={event => setFile(event.target.value)}
            >
              {files.map(one => (
                <option key={one}>{one}</option>
              ))}
            </select>
          </Field>
          <pre className="jp-GpuPredict-preview" tabIndex={0} aria-label={trans.__('Text of %1', chosen)}>
            {texts[chosen]}
          </pre>
        </>
      )}
      <div className="jp-GpuPredict-foot">
        <p className="jp-GpuPredict-buttons">
          <button
            type="button"
            className="jp-GpuPredict-button"
            disabled={!chosen}
            onClick={() => props.copy(texts[chosen] ?? '')}
          >
            {trans.__('Copy')}
          </button>
          <button
            type="button"
            className="jp-GpuPredict-button jp-mod-accept"
            disabled={shown.at !== 'there' || !entered.output}
            onClick={() => void save(false)}
          >
            {trans.__('Save')}
          </button>
          {saved?.exists && (
            <button type="button" className="jp-GpuPredict-button" onClick={() => void save(true)}>
              {trans.__('Overwrite')}
            </button>
          )}
        </p>
        <p role="status" className={saved && !saved.good ? 'jp-GpuPredict-warning' : 'jp-GpuPredict-small'}>
          {saved?.text ?? ''}
        </p>
      </div>
    </div>
  );
}

function unique(names: string[], present: unknown): string[] {
  return [...new Set([...names, String(present)])];
}

function whyNot(error: unknown): Why {
  if (!(error instanceof TransportError) || error.status !== 422) {
    return '';
  }
  return error.reason === 'code' || error.reason === 'secrets' ? error.reason : 'insist';
}

/** Manifests come first, then the function, then what is around them in the server's order. */
function manifestFirst(a: string, b: string): number {
  const rank = (name: string) => (name.startsWith('deploy/') ? 0 : name === 'train_fn.py' ? 1 : 2);
  return rank(a) - rank(b);
}
