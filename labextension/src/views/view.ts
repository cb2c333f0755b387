/** What a view of the panel is given, and what it may do. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { ReactElement } from 'react';

import type { IApi, IReadOptions, Source } from '../api';
import type { Model } from '../model';
import type { ISettings } from '../settings';
import type { Words } from '../words';

export interface IActions {
  /** Ask the server again. */
  retry(): void;
  /** End the measuring of a run; its cell goes on. */
  stop(run: string): void;
  /** Put a command where the user can run it. */
  offer(command: string): void;
  /** Open a notebook, at this cell if it is there. */
  goTo(notebook: string, cell: string): void;
  /** Open the export dialog for a run. */
  openExport(run: string): void;
  /** Have a recording read, with what it does not say itself; it becomes a run. */
  predictFrom(source: Source, options: IReadOptions): void;
  /** Tell of something in the application's own way, perhaps with a way back. */
  notify(message: string, undo?: { label: string; callback: () => void }): void;
  /** Put text on the clipboard. */
  copy(text: string): void;
}

export interface IViewProps {
  api: IApi;
  model: Model;
  words: Words;
  settings: ISettings;
  actions: IActions;
}

export interface IPanelView {
  id: string;
  /** Views of the same tab stand below one another. */
  tab: 'now' | 'history' | 'checks';
  title(trans: TranslationBundle): string;
  Component: (props: IViewProps) => ReactElement;
}
