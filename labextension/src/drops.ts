/** Recordings that are dropped: files from outside, and items of JupyterLab's file browser. */
import type { MimeData } from '@lumino/coreutils';
import type { Drag } from '@lumino/dragdrop';

import type { Source } from './api';

/** What the file browser gives to what it is dragged on. */
const ITEMS = 'application/x-jupyter-icontents';

/** Give what is dropped on a node to `take`; of several files the first. */
export function takeDrops(node: HTMLElement, take: (source: Source) => void): void {
  const files = (event: DragEvent) => {
    if (event.dataTransfer?.types.includes('Files')) {
      event.preventDefault();
      const file = event.type === 'drop' ? event.dataTransfer.files[0] : undefined;
      if (file) {
        take({ file });
      }
    }
  };
  node.addEventListener('dragover', files);
  node.addEventListener('drop', files);
  for (const name of ['lm-dragenter', 'lm-dragover', 'lm-drop']) {
    node.addEventListener(name, found => {
      const event = found as Drag.Event;
      const paths = dragged(event.mimeData);
      if (paths.length > 0) {
        event.preventDefault();
        event.stopPropagation();
        event.dropAction = event.proposedAction;
        if (name === 'lm-drop') {
          take({ path: paths[0] as string });
        }
      }
    });
  }
}

function dragged(data: MimeData): string[] {
  return data.hasData(ITEMS) ? (data.getData(ITEMS) as string[]) : [];
}
