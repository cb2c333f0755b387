/** Our sign: a gauge over a chip. */
import { LabIcon } from '@jupyterlab/ui-components';

import svgstr from '../style/icon.svg';

export const icon = new LabIcon({ name: 'jupyter_gpupredict:icon', svgstr });
