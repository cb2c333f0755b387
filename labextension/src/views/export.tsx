/** The export of a run: what it is deployed as, how its GPU is divided, and the files that come of it. */
import * as React from 'react';

import type { IApi, IExported, IExportRequest, IStatus } from '../api';
import type { ISource } from '../notebook';
import { TransportError } from '../transport';
import type { Words } from '../words';
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

/** Labels as one writes them, `gpu=h200, mps=on`; a part without a value has an empty one. */
export function asLabels(text: string): Record<string, string> {
  const parts = text.split(/[,\s]+/).filter(Boolean);
  return Object.fromEntries(
    parts.map(part => {
      const [key = '', ...value] = part.split('=');
      return [key, value.join('=')];
    })
  );
}

/** Names as one writes them, `data, epochs`. */
export function asNames(text: string): string[] {
  return text.split(/[,\s]+/).filter(Boolean);
}

export function ExportForm(props: IExportProps): React.ReactElement {
  const { api, run, words, source } = props;
  const trans = words.trans;
  const [status, setStatus] = React.useState<IStatus | null>(null);
  const [wish, setWish] = React.useState({
    workload: 'job',
    sharing: '', // the workload's default
    name: props.name,
    image: '',
    nodes: '',
    output: `exports/${props.name}`,
    code: source?.own ?? false,
    params: '',
    secrets: '', // as the server has it: refused
    keep: false
  });
  const [force, setForce] = React.useState(false);
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
    preview,
    workload: wish.workload,
    ...(wish.sharing ? { sharing: wish.sharing } : {}),
    name: wish.name,
    output: wish.output,
    ...(wish.image ? { image: wish.image } : {}),
    ...(wish.nodes.trim() ? { node_selector: asLabels(wish.nodes) } : {}),
    ...(force ? { force } : {}),
    ...(overwrite ? { overwrite } : {}),
    ...(source && wish.code
      ? {
          cells: source.cells(),
          notebook: source.path,
          params: asNames(wish.params),
          ...(wish.secrets ? { secrets: wish.secrets } : {}),
          ...(wish.keep ? { allow_secrets: true } : {})
        }
      : {})
  });

  const refuse = (error: unknown) => {
    const why = whyNot(error);
    setShown({ at: 'refused', ...told(error), why });
    if (why === 'secrets') {
      setSecretsFound(true); // for good: a choice that is taken back keeps its control and the focus
    }
  };

  const key = JSON.stringify([wish, force]);
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
  const ours = targets.filter(one => one.workload === wish.workload);
  const target = ours.find(one => (wish.sharing ? one.sharing === wish.sharing : one.default));
  const texts = shown.at === 'there' ? shown.files.texts : {};
  const files = Object.keys(texts).sort(manifestFirst);
  const chosen = file in texts ? file : (files[0] ?? '');
  const change = (part: Partial<typeof wish>) => setWish(now => ({ ...now, ...part }));

  return (
    <div className="jp-GpuPredict-export">
      <div className="jp-GpuPredict-form">
        <Field label={trans.__('Runs as (workload)')}>
          <select
            className="jp-GpuPredict-input"
            value={wish.workload}
            onChange={event => change({ workload: event.target.value, sharing: '' })}
          >
            {unique(targets.map(one => one.workload), wish.workload).map(one => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </Field>
        <Field label={trans.__('GPU divided by (sharing)')}>
          <select
            className="jp-GpuPredict-input"
            value={target?.sharing ?? wish.sharing}
            onChange={event => change({ sharing: event.target.value })}
          >
            {ours.map(one => (
              <option key={one.sharing} value={one.sharing}>
                {one.supported ? one.sharing : trans.__('%1 (not possible here)', one.sharing)}
              </option>
            ))}
          </select>
        </Field>
        <Field label={trans.__('Name of the function')}>
          <input
            className="jp-GpuPredict-input"
            value={wish.name}
            maxLength={63}
            spellCheck={false}
            onChange={event => change({ name: event.target.value })}
          />
        </Field>
        <Field label={trans.__('Container image')}>
          <input
            className="jp-GpuPredict-input"
            value={wish.image}
            placeholder={trans.__('built from the folder')}
            maxLength={1000}
            spellCheck={false}
            onChange={event => change({ image: event.target.value })}
          />
        </Field>
        <Field label={trans.__('Labels of the nodes')}>
          <input
            className="jp-GpuPredict-input"
            value={wish.nodes}
            placeholder={trans.__('KEY=VALUE, …')}
            maxLength={500}
            spellCheck={false}
            onChange={event => change({ nodes: event.target.value })}
          />
        </Field>
        <Field label={trans.__('Folder, below the server’s root')}>
          <input
            className="jp-GpuPredict-input"
            value={wish.output}
            maxLength={1000}
            spellCheck={false}
            onChange={event => change({ output: event.target.value })}
          />
        </Field>
        {source && wish.code && (
          <Field label={trans.__('Names that the caller gives')}>
            <input
              className="jp-GpuPredict-input"
              value={wish.params}
              placeholder={trans.__('data, epochs, …')}
              maxLength={500}
              spellCheck={false}
              onChange={event => change({ params: event.target.value })}
            />
          </Field>
        )}
      </div>
      {source ? (
        <label className="jp-GpuPredict-check">
          <input
            type="checkbox"
            checked={wish.code}
            onChange={event => change({ code: event.target.checked })}
          />
          {trans.__('With the function’s code, from the cells of %1', source.path)}
        </label>
      ) : (
        <p className="jp-GpuPredict-small">
          {trans.__('No notebook is open: the folder holds the manifests without the function’s code.')}
        </p>
      )}
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
      {secretsFound && source && wish.code && (
        <>
          <Field label={trans.__('Who gives what looks like a credential')}>
            <select
              className="jp-GpuPredict-input"
              value={wish.secrets}
              onChange={event => change({ secrets: event.target.value })}
            >
              <option value="">{trans.__('nobody: the export is refused unless it is kept')}</option>
              <option value="env">{trans.__('the environment, by a name in .env.example')}</option>
              <option value="param">{trans.__('the function’s caller, as a required parameter')}</option>
            </select>
          </Field>
          <label className="jp-GpuPredict-check">
            <input
              type="checkbox"
              checked={wish.keep}
              onChange={event => change({ keep: event.target.checked })}
            />
            {trans.__('Keep what looks like a credential')}
          </label>
        </>
      )}
      {(force || (shown.at === 'refused' && shown.why === 'insist')) && (
        <label className="jp-GpuPredict-check">
          <input type="checkbox" checked={force} onChange={event => setForce(event.target.checked)} />
          {trans.__('Export all the same; the warning is written into the manifest')}
        </label>
      )}
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
            disabled={shown.at !== 'there' || !wish.output}
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

function Field(props: { label: string; children: React.ReactNode }): React.ReactElement {
  return (
    <label className="jp-GpuPredict-field">
      <span>{props.label}</span>
      {props.children}
    </label>
  );
}

function unique(names: string[], present: string): string[] {
  return [...new Set([...names, present])];
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
