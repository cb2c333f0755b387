/** The plug-ins. Each can be disabled; only the translator and the setting registry are required. */
import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { cellButton } from './plugins/cellbutton';
import { commands } from './plugins/commands';
import { dashboard } from './plugins/dashboard';
import { liveCells } from './plugins/livecells';
import { notifications } from './plugins/notifications';
import { panel } from './plugins/panel';
import { recordings } from './plugins/recordings';
import { settings } from './plugins/settings';
import { status } from './plugins/status';

const plugins: JupyterFrontEndPlugin<unknown>[] = [
  settings,
  panel,
  dashboard,
  notifications,
  liveCells,
  status,
  commands,
  cellButton,
  recordings
];

export default plugins;
