/** The text of a cell with our magic on its first line. */

export const MAGIC = '%%gpupredict';

const LOAD = /^\s*%(load_ext|reload_ext)\s+jupyter_gpupredict\b/m;

/** Put into a cell of its own where no cell of the notebook loads the magic. */
export const LOADER = '%load_ext jupyter_gpupredict';

/** Return the source with the magic before everything else; null when it is there already. */
export function withMagic(source: string): string | null {
  const first = source.split('\n').find(line => line.trim() !== '') ?? '';
  return /^\s*%%gpupredict(\s|$)/.test(first) ? null : `${MAGIC}\n${source}`;
}

/** Whether one of the cells loads the magic. */
export function loads(sources: readonly string[]): boolean {
  return sources.some(source => LOAD.test(source));
}
