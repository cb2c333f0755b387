/** The only user of the chart library. Its colours are the theme's, read when it draws. */
import uPlot from 'uplot';

import type { IMark } from './run';
import type { IRow } from './track';

export interface ILine {
  /** A CSS variable of the theme. */
  color: string;
  rows: readonly IRow[];
}

/** A line across, such as the predicted share, with its text at the right end. */
export interface ILevel {
  at: number;
  text: string;
}

export interface IPicture {
  lines: readonly ILine[];
  level: ILevel | null;
  /** What happened, as thin lines; the pointer tells what. */
  marks: readonly IMark[];
  /** Stretches of time that are shaded, alternately. */
  windows: readonly (readonly [number, number])[];
  /** From and to on the time axis. */
  span: readonly [number, number];
  /** The value axis' end; null: from the data. */
  top: number | null;
  /** Writes a value on the axis. */
  format: (value: number) => string;
  /** Whether the axis is divided by powers of two, as bytes are. */
  binary?: boolean;
}

/** 1, 2, 4 ... as far as memory goes. */
const POWERS = Array.from({ length: 50 }, (_, i) => 2 ** i);

const MINUTE_S = 60;
const HOUR_S = 3600;
/** Steps of the time axis: whole ones of what it is labelled in. */
const STEPS_S = [
  ...[0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30],
  ...[1, 2, 5, 10, 20, 30].map(count => count * MINUTE_S),
  ...Array.from({ length: 20 }, (_, i) => HOUR_S * 2 ** i)
];

const FONT = '11px sans-serif';
/** How near to a mark the pointer has to be. */
const NEAR_PX = 4;

/** A canvas in `host`, as wide as it. */
export class Chart {
  private readonly plot: uPlot;
  private picture: IPicture;
  private readonly themes: MutationObserver;
  private readonly sizes: ResizeObserver;
  private frame = 0;

  constructor(
    private readonly host: HTMLElement,
    picture: IPicture,
    private readonly height: number
  ) {
    this.picture = picture;
    this.plot = new uPlot(this.options(), this.data(), host);
    this.themes = new MutationObserver(() => this.plot.redraw());
    this.themes.observe(document.body, {
      attributes: true,
      attributeFilter: ['data-jp-theme-light', 'data-jp-theme-name']
    });
    this.sizes = new ResizeObserver(() => this.resize());
    this.sizes.observe(host);
  }

  /** Draw something else, with the next frame of the screen at the earliest. */
  set(picture: IPicture): void {
    this.picture = picture;
    if (this.frame === 0) {
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.plot.setData(this.data());
      });
    }
  }

  dispose(): void {
    cancelAnimationFrame(this.frame);
    this.themes.disconnect();
    this.sizes.disconnect();
    this.plot.destroy();
  }

  private resize(): void {
    const width = this.host.clientWidth;
    if (width > 0 && width !== this.plot.width) {
      this.plot.setSize({ width, height: this.height });
    }
  }

  private color(name: string): string {
    return getComputedStyle(this.host).getPropertyValue(name).trim() || 'gray';
  }

  /** Columns: time, then low and high of each line. All lines of a picture share their times. */
  private data(): uPlot.AlignedData {
    const lines = this.picture.lines;
    const tables = lines.map(
      line =>
        [
          line.rows.map(row => row.t),
          line.rows.map(row => row.low),
          line.rows.map(row => row.high)
        ] as uPlot.AlignedData
    );
    if (tables.length === 1) {
      return tables[0] as uPlot.AlignedData;
    }
    return uPlot.join(tables); // times that only one line has leave no hole in the other
  }

  private options(): uPlot.Options {
    const text = () => this.color('--jp-ui-font-color1');
    const grid = { stroke: () => this.color('--jp-border-color2'), width: 1 };
    const series: uPlot.Series[] = [{}];
    const bands: uPlot.Band[] = [];
    this.picture.lines.forEach((line, i) => {
      const stroke = () => this.color(line.color);
      const common = { scale: 'y', spanGaps: false, points: { show: false } };
      series.push({ ...common, stroke, width: 1, alpha: 0.5 });
      series.push({ ...common, stroke, width: 1.6, dash: i > 0 ? [5, 3] : undefined });
      bands.push({
        series: [2 * i + 2, 2 * i + 1],
        fill: () => transparent(this.color(line.color))
      });
    });
    return {
      width: Math.max(80, this.host.clientWidth),
      height: this.height,
      legend: { show: false },
      cursor: { show: false },
      padding: [6, 24, 0, 0],
      scales: {
        x: { time: false, range: () => [...this.picture.span] },
        y: {
          range: (_plot, _low, high) => {
            const { top, level } = this.picture;
            return [0, top ?? Math.max(1, 1.1 * Math.max(high || 0, level?.at ?? 0))];
          }
        }
      },
      axes: [
        {
          stroke: text,
          grid,
          ticks: grid,
          font: FONT,
          size: 28,
          incrs: STEPS_S,
          values: (_plot, ticks) => ticks.map(seconds)
        },
        {
          stroke: text,
          grid,
          ticks: grid,
          font: FONT,
          size: 66,
          ...(this.picture.binary ? { incrs: POWERS } : {}),
          values: (_plot, ticks) => ticks.map(this.picture.format)
        }
      ],
      series,
      bands,
      hooks: {
        drawAxes: [plot => this.shade(plot)],
        draw: [plot => this.upright(plot), plot => this.across(plot)],
        ready: [plot => plot.over.addEventListener('mousemove', event => this.explain(plot, event))]
      }
    };
  }

  /** The windows that were judged, behind the lines. */
  private shade(plot: uPlot): void {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.fillStyle = this.color('--gp-window');
    this.picture.windows.forEach(([from, to], i) => {
      const left = Math.max(bbox.left, plot.valToPos(from, 'x', true));
      const right = Math.min(bbox.left + bbox.width, plot.valToPos(to, 'x', true));
      if (right > left) {
        ctx.globalAlpha = i % 2 ? 0.2 : 0.1;
        ctx.fillRect(left, bbox.top, right - left, bbox.height);
      }
    });
    ctx.restore();
  }

  /** What happened. */
  private upright(plot: uPlot): void {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.lineWidth = devicePixelRatio;
    // epochs lie below what is rarer
    const marks = [...this.picture.marks].sort((a, b) => Number(b.kind === 'epoch') - Number(a.kind === 'epoch'));
    for (const mark of marks) {
      const x = Math.round(plot.valToPos(mark.t, 'x', true));
      if (x >= bbox.left && x <= bbox.left + bbox.width) {
        ctx.strokeStyle = this.color(`--gp-mark-${mark.kind}`);
        ctx.globalAlpha = mark.kind === 'epoch' ? 0.5 : 1;
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, bbox.top + bbox.height);
        ctx.stroke();
      }
    }
    ctx.restore();
  }

  /** Tell of the mark below the pointer. */
  private explain(plot: uPlot, event: MouseEvent): void {
    const near = this.picture.marks.filter(
      mark => Math.abs(plot.valToPos(mark.t, 'x') - event.offsetX) <= NEAR_PX
    );
    plot.over.title = near.map(mark => `${seconds(mark.t)}: ${mark.text}`).join('\n');
  }

  /** The level, across, with its text above its right end, or below where there is no room. */
  private across(plot: uPlot): void {
    const level = this.picture.level;
    if (level === null) {
      return;
    }
    const { ctx, bbox } = plot;
    const y = Math.round(plot.valToPos(level.at, 'y', true));
    ctx.save();
    ctx.font = `${11 * devicePixelRatio}px sans-serif`;
    ctx.textAlign = 'right';
    const room = y - bbox.top > 16 * devicePixelRatio;
    ctx.textBaseline = room ? 'bottom' : 'top';
    ctx.fillStyle = this.color('--jp-ui-font-color1');
    ctx.fillText(level.text, bbox.left + bbox.width - 2 * devicePixelRatio, y + (room ? -2 : 3) * devicePixelRatio);
    ctx.strokeStyle = this.color('--gp-figure');
    ctx.lineWidth = 2 * devicePixelRatio;
    ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.restore();
  }
}

/** A time on the axis: seconds, then minutes and hours. */
export function seconds(value: number): string {
  if (value < 120) {
    return `${+value.toFixed(1)} s`;
  }
  return value < 2 * HOUR_S
    ? `${+(value / MINUTE_S).toFixed(1)} min`
    : `${+(value / HOUR_S).toFixed(1)} h`;
}

/** The same colour with little of it; any form that CSS knows. */
function transparent(color: string): string {
  return `color-mix(in srgb, ${color} 25%, transparent)`;
}
