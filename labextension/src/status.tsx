/** The status bar's item: there only while a run is live. */
import { ReactWidget } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { Model } from './model';
import type { Words } from './words';

export class StatusItem extends ReactWidget {
  constructor(
    private readonly model: Model,
    private readonly words: () => Words,
    private readonly open: () => void
  ) {
    super();
    this.addClass('jp-GpuPredict-statusItem');
    model.changed.connect(this.onChange, this);
  }

  override dispose(): void {
    this.model.changed.disconnect(this.onChange, this);
    super.dispose();
  }

  protected render(): React.ReactElement | null {
    const text = statusText(this.model, this.words());
    return text ? (
      <button
        type="button"
        className="jp-GpuPredict-statusButton"
        title={text.title}
        aria-label={text.title}
        onClick={this.open}
      >
        {text.text}
      </button>
    ) : null;
  }

  private onChange(): void {
    this.update();
  }
}

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
