/** What works on this server, what does not, and what would help. */
import * as React from 'react';

import { useAsked, Waiting } from './parts';
import type { IViewProps } from './view';

export function Doctor({ api, model, words, actions }: IViewProps): React.ReactElement {
  const trans = words.trans;
  const [asked, again] = useAsked('doctor', () => api.doctor());
  if (asked.at !== 'there') {
    return <Waiting asked={asked} words={words} retry={again} />;
  }
  const lines = asked.value.lines;
  const text = lines
    .map(line => `${{ ok: 'ok', off: '-', fails: 'NO' }[line.level]} ${line.name}: ${line.found}${line.fix ? ` -> ${line.fix}` : ''}`)
    .join('\n');
  const status = model.status;
  return (
    <>
      <p className="jp-GpuPredict-small">
        {trans.__(
          'Looked at beside the server on %1; a kernel may differ: %2 in a cell tells.',
          status?.host ?? '',
          '%gpupredict doctor'
        )}
      </p>
      <table className="jp-GpuPredict-facts">
        <thead>
          <tr>
            <th scope="col">{trans.__('what')}</th>
            <th scope="col">{trans.__('found')}</th>
          </tr>
        </thead>
        <tbody>
          {lines.map(line => (
            <tr key={line.name}>
              <th scope="row">
                <span aria-hidden>{{ ok: '✓', off: '○', fails: '✗' }[line.level]}</span> {line.name}
              </th>
              <td>
                {line.level === 'fails' && `${trans.__('does not work')}: `}
                {line.found}
                {line.fix && line.level === 'fails' && (
                  <p className="jp-GpuPredict-small">{trans.__('What helps: %1', line.fix)}</p>
                )}
              </td>
            </tr>
          ))}
          {status && (
            <tr>
              <th scope="row">
                <span aria-hidden>{status.mps.running ? '✓' : '○'}</span> MPS
              </th>
              <td>
                {status.mps.running
                  ? trans.__('a control daemon runs (%1)', status.mps.pipe_directory)
                  : status.mps.message}
              </td>
            </tr>
          )}
        </tbody>
      </table>
      <p className="jp-GpuPredict-buttons">
        <button type="button" className="jp-GpuPredict-button" onClick={again}>
          {trans.__('Look again')}
        </button>
        <button type="button" className="jp-GpuPredict-button" onClick={() => actions.copy(text)}>
          {trans.__('Copy')}
        </button>
      </p>
    </>
  );
}
