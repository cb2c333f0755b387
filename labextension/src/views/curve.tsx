/** What fewer SMs cost, by the geometry of a run's kernels: the speed kept at each share. */
import * as React from 'react';

import type { Schemas } from '../api';
import type { Words } from '../words';

const WIDTH = 320;
const HEIGHT = 120;
/** Room for the labels: left, right, top and bottom. */
const EDGE = { left: 40, right: 8, top: 6, bottom: 18 };

interface ICurveProps {
  need: Schemas['SmNeed'];
  /** What SM activity says and what was verified. */
  points: readonly Schemas['SpeedPoint'][];
  words: Words;
}

export function Curve({ need, points, words }: ICurveProps): React.ReactElement | null {
  const trans = words.trans;
  const low: string[] = [];
  const high: string[] = [];
  for (const [percent, least, most] of need.curve) {
    // a slowdown that is not known has no speed
    if (percent && least && most) {
      low.push(point(percent / 100, 1 / most));
      high.push(point(percent / 100, 1 / least));
    }
  }
  if (low.length < 2) {
    return null;
  }
  const names = points.map(({ method, share_ratio, speed_ratio }) =>
    trans.__('%1: %2 keep %3', named(method, words), words.percent(share_ratio), words.percent(speed_ratio))
  );
  const goal = need.speed_ratio;
  const ends = [need.low_sms / need.sms, need.high_sms / need.sms] as const;
  const summary = trans.__(
    '%1 to %2 of the SMs keep %3 of the speed, by kernel geometry',
    words.percent(ends[0]), words.percent(ends[1]), words.percent(goal)
  );
  return (
    <figure className="jp-GpuPredict-figure">
      <figcaption>{summary}</figcaption>
      <svg className="jp-GpuPredict-curve" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={summary}>
        {[0, 0.5, 1].map(speed => (
          <React.Fragment key={speed}>
            <line x1={x(0)} x2={x(1)} y1={y(speed)} y2={y(speed)} />
            <text x={EDGE.left - 4} y={y(speed) + 4} textAnchor="end">
              {words.percent(speed)}
            </text>
          </React.Fragment>
        ))}
        <polygon points={[...high, ...low.reverse()].join(' ')} />
        <line className="jp-mod-level" x1={x(0)} x2={x(1)} y1={y(goal)} y2={y(goal)} />
        {ends.map((share, i) => (
          <line key={i} className="jp-mod-end" x1={x(share)} x2={x(share)} y1={y(0)} y2={y(goal)} />
        ))}
        {points.map(({ method, share_ratio: share, speed_ratio: speed }) => (
          <g key={method}>
            <circle cx={x(share)} cy={y(speed)} r={4} />
            <text
              x={x(share) + (share > 0.6 ? -7 : 7)}
              y={y(speed) + 12}
              textAnchor={share > 0.6 ? 'end' : 'start'}
            >
              {named(method, words)}
            </text>
          </g>
        ))}
        {[0.25, 0.5, 0.75, 1].map(share => (
          <text key={share} x={x(share)} y={HEIGHT - 4} textAnchor={share === 1 ? 'end' : 'middle'}>
            {words.percent(share)}
          </text>
        ))}
      </svg>
      <p className="jp-GpuPredict-small">
        {[trans.__('Speed, of that on all %1 SMs, against the share of the SMs', need.sms), ...names].join('; ')}
      </p>
    </figure>
  );
}

function named(method: Schemas['SpeedPoint']['method'], words: Words): string {
  return method === 'verified' ? words.trans.__('verified') : words.metric('sm_active_ratio');
}

function x(share: number): number {
  return EDGE.left + share * (WIDTH - EDGE.left - EDGE.right);
}

function y(speed: number): number {
  return EDGE.top + (1 - Math.min(1, speed)) * (HEIGHT - EDGE.top - EDGE.bottom);
}

function point(share: number, speed: number): string {
  return `${x(share).toFixed(1)},${y(speed).toFixed(1)}`;
}
