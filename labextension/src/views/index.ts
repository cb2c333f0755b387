/** The views of the panel, in their order. One more view is one more entry. */
import { Devices } from './devices';
import { Doctor } from './doctor';
import { History } from './history';
import { Recorded } from './recorded';
import { Running } from './running';
import type { IPanelView } from './view';

export const VIEWS: readonly IPanelView[] = [
  { id: 'running', tab: 'now', title: trans => trans.__('This notebook'), Component: Running },
  { id: 'devices', tab: 'now', title: trans => trans.__('GPUs of the server'), Component: Devices },
  { id: 'recorded', tab: 'history', title: trans => trans.__('From a recording'), Component: Recorded },
  { id: 'history', tab: 'history', title: trans => trans.__('Measured runs'), Component: History },
  { id: 'doctor', tab: 'checks', title: trans => trans.__('What works here'), Component: Doctor }
];
