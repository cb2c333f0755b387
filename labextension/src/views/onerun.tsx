/** One stored run, and what can be done with it. */
import * as React from 'react';

import type { ISummary, RunFile, Schemas } from '../api';
import { Reading, problemOf, Waiting, when } from './parts';
import { RunCard } from './runcard';
import { IStored, useStored } from './stored';
import type { IViewProps } from './view';

interface IOneProps extends IViewProps {
  id: string;
  /** Called when the list is not true any more. */
  changed: () => void;
  close: () => void;
}

export function One(props: IOneProps): React.ReactElement {
  const [asked, again] = useStored(props.api, [props.id]);
  if (asked.at !== 'there') {
    return <Waiting asked={asked} words={props.words} retry={again} />;
  }
  const { summary, run, partial } = asked.value[0] as IStored;
  return (
    <>
      <Tools {...props} run={summary} />
      {partial && <Reading words={props.words} />}
      <RunCard {...props} run={run} outcome={summary.outcome} whole />
    </>
  );
}

function Tools(props: IOneProps & { run: ISummary }): React.ReactElement {
  const { api, words, actions, id, run, changed } = props;
  const trans = words.trans;
  const [label, setLabel] = React.useState({ name: run.name, note: run.note, pinned: run.pinned });
  const attempt = async (work: () => Promise<unknown>) => {
    try {
      await work();
      changed();
    } catch (error) {
      actions.notify(problemOf(error).message);
    }
  };
  const keep = (part: Schemas['LabelRequest']) => {
    setLabel(now => ({ ...now, ...part }));
    void attempt(() => api.label(id, part));
  };
  const take = async (form: RunFile) => {
    try {
      save(await api.file(id, form), form === 'readings.csv' ? `${id}.csv` : `${id}.${form.slice(-3)}`);
    } catch (error) {
      actions.notify(problemOf(error).message);
    }
  };
  const discard = () =>
    attempt(async () => {
      await api.discard(id);
      props.close();
      actions.notify(trans.__('Deleted: %1', run.name || run.headline), {
        label: trans.__('Undo'),
        callback: () => void attempt(() => api.restore(id))
      });
    });
  const files: [RunFile, string][] = [
    ['readings.csv', trans.__('Readings (CSV)')],
    ['chart/png', trans.__('Chart (PNG)')],
    ['chart/svg', trans.__('Chart (SVG)')]
  ];
  return (
    <>
      <p className="jp-GpuPredict-small">
        {[when(run.started_at), run.notebook].filter(Boolean).join(' · ')}
        {run.first_line && (
          <>
            {' · '}
            <code>{run.first_line}</code>
          </>
        )}
      </p>
      <div className="jp-GpuPredict-form">
        <input
          className="jp-GpuPredict-input"
          maxLength={100}
          defaultValue={label.name}
          aria-label={trans.__('Name')}
          placeholder={trans.__('Name')}
          onBlur={event => event.target.value !== label.name && keep({ name: event.target.value })}
        />
        <input
          className="jp-GpuPredict-input"
          maxLength={2000}
          defaultValue={label.note}
          aria-label={trans.__('Note')}
          placeholder={trans.__('Note')}
          onBlur={event => event.target.value !== label.note && keep({ note: event.target.value })}
        />
      </div>
      <p className="jp-GpuPredict-buttons">
        <button
          type="button"
          className="jp-GpuPredict-button"
          aria-pressed={label.pinned}
          onClick={() => keep({ pinned: !label.pinned })}
        >
          {label.pinned ? trans.__('★ Pinned') : trans.__('☆ Pin')}
        </button>
        {run.notebook && (
          <button
            type="button"
            className="jp-GpuPredict-button"
            onClick={() => actions.goTo(run.notebook, run.cell_id)}
          >
            {trans.__('Open its cell')}
          </button>
        )}
        {files.map(([form, name]) => (
          <button key={form} type="button" className="jp-GpuPredict-button" onClick={() => void take(form)}>
            {name}
          </button>
        ))}
        <button
          type="button"
          className="jp-GpuPredict-button"
          disabled={run.outcome === 'running'}
          onClick={() => void discard()}
        >
          {trans.__('Delete')}
        </button>
      </p>
    </>
  );
}

/** Give a file to the browser's downloads. */
function save(content: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
