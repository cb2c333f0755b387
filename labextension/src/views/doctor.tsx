/** What works on this server, what does not, and what would help. */
import * as React from 'react';

import { useAsked, Waiting } from './parts';
import type { IViewProps } from './view';

const SIGNS = { ok: '✓', off: '○', fails: '✗' } as const;
const TONES = { ok: 'good', off: 'plain', fails: 'bad' } as const;

export function Doctor({ api, model, words, actions }: IViewProps): React.ReactElement {
  const trans = words.trans;
  const [asked, again] = useAsked('doctor', () => api.doctor());
  if (asked.at !== 'there') {
    return <Waiting asked={asked} words={words} retry={again} />;
  }
  const { lines, works } = asked.value;
  const text = lines
    .map(({ name, level, found, fix, detail }) =>
      [`${level} ${name}: ${found}`, fix && `-> ${fix}`, detail && `(${detail})`].filter(Boolean).join(' ')
    )
    .join('\n');
  return (
    <>
      <p className="jp-GpuPredict-why" data-tone={works ? 'good' : 'bad'} role="status">
        <span className="jp-GpuPredict-sign" aria-hidden>
          {works ? '●' : '▲'}
        </span>{' '}
        {works ? trans.__('All that is needed works.') : trans.__('Something that is needed does not work.')}
      </p>
      <p className="jp-GpuPredict-small">
        {trans.__(
          'Looked at beside the server on %1; for a kernel, run %2 in a cell.',
          model.status?.host ?? '',
          '%gpupredict doctor'
        )}
      </p>
      <table className="jp-GpuPredict-facts">
        <tbody>
          {lines.map(line => (
            <tr key={line.name} data-tone={TONES[line.level]}>
              <th scope="row">
                <span className="jp-GpuPredict-sign" role="img" aria-label={line.level}>
                  {SIGNS[line.level]}
                </span>{' '}
                {line.name}
              </th>
              <td>
                {line.found}
                {line.fix && line.level !== 'ok' && <p className="jp-GpuPredict-small">{line.fix}</p>}
                {line.detail && (
                  <details>
                    <summary>{trans.__('What the library says')}</summary>
                    <p className="jp-GpuPredict-small jp-GpuPredict-ids">{line.detail}</p>
                  </details>
                )}
              </td>
            </tr>
          ))}
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
