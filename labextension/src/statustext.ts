/** What the status item says; no DOM. */
import type { Model } from './model';
import type { Words } from './words';

/** What the item says; null while no run is live. */
export function statusText(model: Model, words: Words): { text: string; title: string } | null {
  const run = model.run;
  if (!model.live || !run) {
    return null;
  }
  const trans = words.trans;
  const told = run.recommendation;
  const gpu = run.started?.source !== 'cpu';
  const now = words.percent(run.share?.last);
  const covered = words.percent(told?.coverage_ratio);
  const name = gpu ? trans.__('GPU') : trans.__('CPU');
  return {
    text: `${name} ${now} · ${trans.__('cov %1', covered)}`,
    title: trans.__(
      '%1 now %2, coverage %3. %4. Open the GPU Predict panel',
      name,
      now,
      covered,
      told ? words.prediction(told) : trans.__('no figure yet')
    )
  };
}
