/** The code cells of a notebook, as an export takes them. */
import type { INotebookModel } from '@jupyterlab/notebook';

import type { ISentCell } from './api';

type Shared = INotebookModel['sharedModel'];
type CodeCell = Extract<Shared['cells'][number], { cell_type: 'code' }>;

/** A notebook that is open: where it stands, and its cells as they stand now, saved or not. */
export interface ISource {
  /** Below the server's root, with forward slashes. */
  path: string;
  /** Whether the run that is exported is of this notebook's kernel. */
  own: boolean;
  cells(): ISentCell[];
}

/** Return the code cells in the notebook's order, without their outputs. */
export function codeCells(notebook: Shared): ISentCell[] {
  return notebook.cells
    .filter((cell): cell is CodeCell => cell.cell_type === 'code')
    .map(cell => {
      const tags = cell.getMetadata('tags');
      return {
        source: cell.getSource(),
        execution_count: cell.execution_count,
        tags: Array.isArray(tags) ? tags.filter((one): one is string => typeof one === 'string') : [],
        failed: cell.getOutputs().some(output => output.output_type === 'error')
      };
    });
}
