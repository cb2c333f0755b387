/** A chart with its words and its table, so that nothing is told by a picture alone. */
import * as React from 'react';

import { Chart, ILevel, ILine, IPicture, seconds } from '../chart';
import type { IMark } from '../run';
import type { IRow } from '../track';
import type { Words } from '../words';

const TABLE_ROWS = 30;

export interface IPlotProps {
  title: string;
  /** What the picture shows, for those who do not see it. */
  summary: string;
  lines: readonly (ILine & { name: string })[];
  level?: ILevel | null;
  marks?: readonly IMark[];
  windows?: readonly (readonly [number, number])[];
  end_s: number;
  from_s?: number;
  top: number | null;
  format: (value: number) => string;
  binary?: boolean;
  words: Words;
  height?: number;
}

export function Plot(props: IPlotProps): React.ReactElement {
  const host = React.useRef<HTMLDivElement>(null);
  const chart = React.useRef<Chart | null>(null);
  const [open, setOpen] = React.useState(false);
  const trans = props.words.trans;
  const picture: IPicture = {
    lines: props.lines,
    level: props.level ?? null,
    windows: props.windows ?? [],
    marks: props.marks ?? [],
    span: [props.from_s ?? 0, Math.max(props.end_s, (props.from_s ?? 0) + 10)],
    top: props.top,
    format: props.format,
    binary: props.binary
  };
  React.useEffect(() => {
    if (!host.current) {
      return;
    }
    chart.current = new Chart(host.current, picture, props.height ?? 130);
    return () => {
      chart.current?.dispose();
      chart.current = null;
    };
  }, [props.lines.length, props.height]);
  React.useEffect(() => chart.current?.set(picture));
  return (
    <figure className="jp-GpuPredict-figure" data-rows={props.lines[0]?.rows.length ?? 0} data-from={props.lines[0]?.rows[0]?.t}>
      <figcaption>
        {props.title}
        <span className="jp-GpuPredict-legend">
          {legend(props).map(([name, color, sign]) => (
            <span key={name}>
              <span style={{ color: `var(${color})` }} aria-hidden>
                {sign}
              </span>{' '}
              {name}
            </span>
          ))}
        </span>
      </figcaption>
      <div ref={host} className="jp-GpuPredict-chart" role="img" aria-label={props.summary} />
      <details onToggle={event => setOpen(event.currentTarget.open)}>
        <summary>{trans.__('Table')}</summary>
        {open && props.lines.map(line => <Rows key={line.name} line={line} {...props} />)}
      </details>
    </figure>
  );
}

/** What is in the picture: name, colour, and what it is drawn with. */
function legend(props: IPlotProps): [string, string, string][] {
  const trans = props.words.trans;
  const found: [string, string, string][] =
    props.lines.length > 1
      ? props.lines.map((line, i) => [line.name, line.color, i === 0 ? '──' : '╌╌'])
      : [[trans.__('readings'), props.lines[0]?.color ?? '--gp-share', '──']];
  if (props.level) {
    found.push([trans.__('figure'), '--gp-figure', '╌╌']);
  }
  if (props.windows?.length) {
    found.push([trans.__('windows judged'), '--gp-window', '▒']);
  }
  for (const kind of ['settled', 'changed', 'epoch'] as const) {
    if (props.marks?.some(one => one.kind === kind)) {
      const names = { settled: trans.__('settled'), changed: trans.__('changed'), epoch: trans.__('epoch') };
      found.push([names[kind], `--gp-mark-${kind}`, '│']);
    }
  }
  return found;
}

function Rows(props: IPlotProps & { line: ILine & { name: string } }): React.ReactElement {
  const trans = props.words.trans;
  const rows = coarser(props.line.rows);
  return (
    <table className="jp-GpuPredict-rows">
      <caption>{props.line.name}</caption>
      <thead>
        <tr>
          <th scope="col">{trans.__('until')}</th>
          <th scope="col">{trans.__('lowest')}</th>
          <th scope="col">{trans.__('highest')}</th>
        </tr>
      </thead>
      <tbody>
        {rows.map(row => (
          <tr key={row.t}>
            <td>{seconds(row.t)}</td>
            <td>{row.low === null ? trans.__('no reading') : props.format(row.low)}</td>
            <td>{row.high === null ? trans.__('no reading') : props.format(row.high)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** As many rows as one reads, each with the extremes of its stretch. */
export function coarser(rows: readonly IRow[]): IRow[] {
  const step = Math.max(1, Math.ceil(rows.length / TABLE_ROWS));
  const found: IRow[] = [];
  for (let i = 0; i < rows.length; i += step) {
    const some = rows.slice(i, i + step);
    const known = some.filter(row => row.high !== null);
    found.push({
      t: some.at(-1)?.t ?? 0,
      low: known.length ? Math.min(...known.map(row => row.low as number)) : null,
      high: known.length ? Math.max(...known.map(row => row.high as number)) : null
    });
  }
  return found;
}
