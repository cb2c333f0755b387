/** The export form in the application's own dialog, which keeps and gives back the focus. */
import { Dialog, ReactWidget } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { asName, ExportForm, IExportProps } from './views/export';

class Body extends ReactWidget {
  constructor(private readonly form: IExportProps) {
    super();
    this.addClass('jp-GpuPredict-dialog');
  }

  protected render(): React.ReactElement {
    return <ExportForm {...this.form} />;
  }
}

/** Open the dialog; resolves when it is closed. */
export async function openExport(form: IExportProps, trans: TranslationBundle): Promise<void> {
  const dialog = new Dialog({
    title: trans.__('Export a function folder'),
    body: new Body({ ...form, name: asName(form.name) }),
    buttons: [Dialog.cancelButton({ label: trans.__('Close') })],
    defaultButton: 0,
    hasClose: true
  });
  dialog.addClass('jp-GpuPredict-exportDialog');
  await dialog.launch();
}
