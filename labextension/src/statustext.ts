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
  const gpu = run.started?.source !== 'cpu';
  const now = words.percent(run.share?.last);
  const answer = run.answer;
  const name = gpu ? trans.__('GPU') : trans.__('CPU');
  return {
    text: `${name} ${now} · ${answer?.word ?? '…'}`,
    title: trans.__('%1. Open the GPU Predict panel', answer?.headline ?? trans.__('no figure yet'))
  };
}
