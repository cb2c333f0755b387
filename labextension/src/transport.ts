/** The only file that touches the server's connection. Token, XSRF and prefix are handled there. */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import {
  IApi,
  IDevices,
  IDoctor,
  IExported,
  IExportRequest,
  IPicture,
  IReadOptions,
  IRuns,
  ISession,
  ISessions,
  IStatus,
  ISummary,
  RunFile,
  SCHEMAS,
  Schemas,
  Source
} from './api';

/** Why a request failed, as far as the user can do something about it. */
export type Failure =
  | 'missing' // the server extension is not there
  | 'forbidden' // not signed in, or not allowed
  | 'unreachable' // no answer at all
  | 'refused' // the server said why
  | 'failed'; // the server failed

/** A request that failed. */
export class TransportError extends Error {
  constructor(
    readonly failure: Failure,
    readonly status: number,
    message: string,
    readonly hint = '',
    readonly reason = '',
    /** All that is in the way, where the server knows more than the message. */
    readonly obstacles: readonly Schemas['Obstacle'][] = []
  ) {
    super(message);
  }
}

/** Ask for a path below the routes; resolves with any answer, rejects when there is none. */
export type Ask = (path: string, init: RequestInit) => Promise<Response>;

/** Ask the server that the page came from. */
export function throughServer(settings: ServerConnection.ISettings): Ask {
  return (path, init) =>
    ServerConnection.makeRequest(URLExt.join(settings.baseUrl, 'gpupredict', 'v1') + '/' + path, init, settings);
}

/** The routes. */
export class Transport implements IApi {
  constructor(private readonly ask: Ask) {}

  status(signal?: AbortSignal): Promise<IStatus> {
    return this.get('status', {}, signal);
  }

  devices(signal?: AbortSignal): Promise<IDevices> {
    return this.get('devices', {}, signal);
  }

  /** Held by the server until there is something after the cursor; an empty cursor is answered at once. */
  runs(kernel: string, since: string, wait_s: number, signal?: AbortSignal): Promise<IRuns> {
    const query: Record<string, string> = since ? { since, wait: String(wait_s) } : {};
    return this.get(`kernels/${encodeURIComponent(kernel)}/runs`, query, signal);
  }

  async follow(
    kernel: string,
    since: string,
    how: { stream_s: number; devices: boolean },
    take: (reply: IRuns) => boolean,
    signal: AbortSignal
  ): Promise<void> {
    const query = new URLSearchParams({
      since,
      stream: String(how.stream_s),
      ...(how.devices ? { devices: '1' } : {})
    }).toString();
    const path = `kernels/${encodeURIComponent(kernel)}/runs?${query}`;
    const response = await this.answer(path, { method: 'GET', signal });
    const lines = response.headers.get('Content-Type')?.startsWith('application/x-ndjson');
    if (!response.ok || !lines || !response.body) {
      throw failure(response, parsed(await response.text()));
    }
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let rest = '';
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) {
          return;
        }
        const whole = (rest + decoder.decode(value, { stream: true })).split('\n');
        rest = whole.pop() ?? '';
        for (const line of whole) {
          const reply = parsed(line);
          if (reply && !take(reply as unknown as IRuns)) {
            return;
          }
        }
      }
    } catch (error) {
      throw unreachable(error);
    } finally {
      reader.cancel().catch(() => undefined); // it may have broken already
    }
  }

  async stop(kernel: string, run: string): Promise<void> {
    await this.post(`kernels/${encodeURIComponent(kernel)}/runs/${encodeURIComponent(run)}/stop`);
  }

  sessions(
    query: string,
    before: string | null,
    limit: number,
    order = 'when',
    word = ''
  ): Promise<ISessions> {
    return this.get('sessions', {
      limit: String(limit),
      ...(query ? { q: query.slice(0, 200) } : {}),
      ...(order === 'when' ? {} : { order }),
      ...(word ? { word } : {}),
      ...(before ? { before } : {})
    });
  }

  session(id: string, signal?: AbortSignal): Promise<ISession> {
    return this.get(`sessions/${encodeURIComponent(id)}`, {}, signal);
  }

  picture(id: string, width: number, signal?: AbortSignal): Promise<IPicture> {
    return this.get(`sessions/${encodeURIComponent(id)}/series`, { width: String(width) }, signal);
  }

  label(id: string, part: Schemas['LabelRequest']): Promise<ISummary> {
    return this.post(`sessions/${encodeURIComponent(id)}/label`, part);
  }

  discard(id: string): Promise<unknown> {
    return this.post(`sessions/${encodeURIComponent(id)}/delete`);
  }

  restore(id: string): Promise<ISummary> {
    return this.post(`sessions/${encodeURIComponent(id)}/restore`);
  }

  async file(id: string, form: RunFile): Promise<Blob> {
    const response = await this.answer(`sessions/${encodeURIComponent(id)}/${form}`, {});
    if (!response.ok) {
      throw failure(response, parsed(await response.text()));
    }
    return response.blob();
  }

  export(id: string, request: IExportRequest): Promise<IExported> {
    return this.post(`sessions/${encodeURIComponent(id)}/export`, request);
  }

  async keep(source: Source, options: IReadOptions): Promise<Schemas['Kept']> {
    const most = SCHEMAS.Recording.maxLength ?? Infinity;
    if ('file' in source && source.file.size > most) {
      const message = `${source.file.name} is longer than ${most / 2 ** 20} MiB`;
      throw new TransportError('refused', 0, message, '`jupyter gpupredict predict FILE` in a terminal reads it');
    }
    const what = 'path' in source ? { path: source.path } : { name: source.file.name };
    const given = Object.entries(options).map(([name, value]) => [name, String(value)]);
    const query = new URLSearchParams({ ...Object.fromEntries(given), ...what }).toString();
    const sent =
      'file' in source ? { body: source.file, headers: { 'Content-Type': 'application/octet-stream' } } : {};
    return this.reply(`recordings?${query}`, { method: 'POST', ...sent });
  }

  doctor(): Promise<IDoctor> {
    return this.get('doctor');
  }

  private get<T>(path: string, query: Record<string, string> = {}, signal?: AbortSignal): Promise<T> {
    const search = new URLSearchParams(query).toString();
    return this.reply<T>(search ? `${path}?${search}` : path, { method: 'GET', signal });
  }

  private post<T>(path: string, body?: object): Promise<T> {
    const init = body
      ? { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } }
      : {};
    return this.reply<T>(path, { method: 'POST', ...init });
  }

  private async reply<T>(path: string, init: RequestInit): Promise<T> {
    const response = await this.answer(path, init);
    const text = await response.text();
    const document = parsed(text);
    if (response.ok && document !== null) {
      return document as T;
    }
    throw failure(response, document);
  }

  private async answer(path: string, init: RequestInit): Promise<Response> {
    try {
      return await this.ask(path, init);
    } catch (error) {
      throw unreachable(error);
    }
  }
}

function unreachable(error: unknown): TransportError {
  return new TransportError('unreachable', 0, error instanceof Error ? error.message : String(error));
}

function parsed(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** Our routes explain themselves; a 404 or 403 without that is not theirs. */
function failure(response: Response, document: Record<string, unknown> | null): TransportError {
  const field = (name: string) => (typeof document?.[name] === 'string' ? (document[name] as string) : '');
  const ours = document !== null && 'hint' in document;
  const status = response.status;
  const message = field('message') || response.statusText || `HTTP ${status}`;
  const kind: Failure =
    status === 401 || status === 403 || (response.ok && document === null)
      ? 'forbidden' // a page in place of JSON is the login page
      : ours && status < 500
        ? 'refused'
        : status === 404 || status === 405
          ? 'missing'
          : status === 502 || status === 503 || status === 504
            ? 'unreachable'
            : 'failed';
  const obstacles = Array.isArray(document?.obstacles) ? (document.obstacles as Schemas['Obstacle'][]) : [];
  return new TransportError(kind, status, message, field('hint'), field('reason'), obstacles);
}
