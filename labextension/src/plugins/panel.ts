import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Clipboard, Notification } from '@jupyterlab/apputils';
import { IConsoleTracker } from '@jupyterlab/console';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ITranslator } from '@jupyterlab/translation';

import { openExport } from '../dialog';
import { Follower } from '../follower';
import { ITracker, Kernels } from '../kernels';
import { kernelOf, Model, Recording } from '../model';
import { codeCells, ISource } from '../notebook';
import { panel as made, PANEL_ID } from '../panel';
import { DEFAULTS } from '../settings';
import { ICurrentSettings, IGpuPredict } from '../tokens';
import { throughServer, Transport } from '../transport';
import { problemOf } from '../views/parts';
import type { IActions, IViewProps } from '../views/view';
import { Words } from '../words';

const RANK = 900;

export const panel: JupyterFrontEndPlugin<IGpuPredict> = {
  id: 'jupyter_gpupredict:panel',
  description: 'The side panel: devices, the running measurement, history, checks.',
  autoStart: true,
  requires: [ITranslator],
  optional: [ICurrentSettings, INotebookTracker, IConsoleTracker, ILayoutRestorer],
  provides: IGpuPredict,
  activate: (
    app: JupyterFrontEnd,
    translator: ITranslator,
    settings: ICurrentSettings | null,
    notebooks: INotebookTracker | null,
    consoles: IConsoleTracker | null,
    restorer: ILayoutRestorer | null
  ) => {
    const trans = translator.load('jupyter_gpupredict');
    const current = () => settings?.now ?? DEFAULTS;
    const words = () => new Words(trans, current().memoryUnit);
    const api = new Transport(throughServer(app.serviceManager.serverSettings));
    const model = new Model();
    const trackers = [notebooks, consoles].filter((one): one is ITracker & typeof one => one !== null);
    const kernels = new Kernels(trackers);
    const follower = new Follower(api, model, kernels);
    const source = (run: string): ISource | null => {
      const open = notebooks?.currentWidget;
      const cells = open?.content.model?.sharedModel;
      if (!open || !cells) {
        return null;
      }
      const kernel = open.sessionContext.session?.kernel?.id;
      const shown = (kernel ?? null) === kernelOf(model.place);
      const own = shown && model.runs.some(one => one.session_id === run);
      return { path: open.context.localPath, own, cells: () => codeCells(cells) };
    };
    const notify: IActions['notify'] = (message, undo) => {
      Notification.info(message, undo ? { autoClose: 10_000, actions: [undo] } : { autoClose: 4000 });
    };
    const copy = (text: string) => {
      Clipboard.copyToSystem(text);
      notify(trans.__('Copied'));
    };
    const reveal = (folder: string) => {
      if (app.commands.hasCommand('filebrowser:go-to-path')) {
        void app.commands.execute('filebrowser:go-to-path', { path: `/${folder}` });
      }
    };
    const offer = (command: string) => {
      const open = notebooks?.currentWidget;
      const cells = open?.content.model?.sharedModel;
      if (open && cells) {
        const index = open.content.activeCellIndex + 1;
        cells.insertCell(index, { cell_type: 'code', source: command });
        open.content.activeCellIndex = index;
        notify(trans.__('Run the new cell: it holds %1', command));
      } else {
        copy(command);
      }
    };
    const predictFrom: IActions['predictFrom'] = (source, options) => {
      const name = 'path' in source ? (source.path.split('/').at(-1) ?? '') : source.file.name;
      const begun: Recording = { name, source, at: 'reading' };
      const end = (found: Recording) => model.recording === begun && model.setRecording(found);
      model.setRecording(begun);
      api.keep(source, options).then(
        reply => end({ name, source, at: 'kept', runs: reply.sessions }),
        (error: unknown) => end({ name, source, at: 'failed', ...problemOf(error) })
      );
    };
    const actions: IActions = {
      notify,
      predictFrom,
      copy,
      offer,
      goTo: (path, cell) => {
        void app.commands.execute('docmanager:open', { path }).then(async () => {
          const open = notebooks?.find(one => one.context.path === path);
          await open?.context.ready;
          await open?.revealed;
          const index = open?.content.widgets.findIndex(one => one.model.id === cell) ?? -1;
          if (open && index >= 0) {
            open.content.activeCellIndex = index;
            await open.content.scrollToItem(index);
          }
        });
      },
      retry: () => follower.retry(),
      stop: run => {
        const kernel = kernelOf(model.place);
        if (kernel) {
          model.stopAsked(run);
          api.stop(kernel, run).catch((error: unknown) => {
            model.stopFailed(run);
            notify(error instanceof Error ? error.message : String(error));
          });
        }
      },
      openExport: run => {
        const place = model.place;
        const name = place.kind === 'nowhere' ? '' : place.name;
        void openExport({ api, run, name, source: source(run), words: words(), copy, reveal }, trans);
      }
    };
    const props = (): IViewProps => ({ api, model, words: words(), settings: current(), actions });
    const visible = new Set<string>();
    const shown = (name: string) => (now: boolean) => {
      visible[now ? 'add' : 'delete'](name);
      follower.show({ panel: visible.size > 0 });
    };
    const widget = made(model, props, shown('panel'));
    app.shell.add(widget, 'right', { rank: RANK, type: 'GPU Predict' });
    restorer?.add(widget, PANEL_ID);

    const apply = () => {
      follower.refresh_ms = current().refreshMs;
      follower.notifies = current().notify;
      follower.show({ status: current().showStatusItem });
      model.setHistory(current().historySeconds);
      widget.update();
    };
    settings?.changed.connect(apply);
    void app.started.then(() => {
      apply();
      follower.start();
    });
    return {
      model,
      actions,
      words,
      props,
      shown,
      open: () => app.shell.activateById(PANEL_ID),
      hidden: () => document.hidden || !(notebooks?.currentWidget ?? consoles?.currentWidget)?.isVisible
    };
  }
};
