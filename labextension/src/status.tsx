/** The status bar's item: there only while a run is live. */
import { ReactWidget } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { Model } from './model';
import { statusText } from './statustext';
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
