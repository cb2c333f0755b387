/** The server's own GPUs: how busy, how full, and who uses them. */
import * as React from 'react';

import type { IServerDevice } from '../api';
import type { Words } from '../words';
import { Empty, Meter, sentence } from './parts';
import type { IViewProps } from './view';

const MAX_PROCESSES = 20;

export function Devices({ model, words, actions }: IViewProps): React.ReactElement {
  const trans = words.trans;
  const found = model.devices;
  if (!found) {
    return <Empty why={trans.__('Loading…')} />;
  }
  const why = found.message || (found.reason && words.reason(found.reason));
  const next = found.hint || words.help(found.reason);
  if (found.devices.length === 0) {
    return (
      <Empty
        why={sentence(why || words.reason('no_device'))}
        next={next || words.help('no_device')}
        action={trans.__('Retry')}
        onAction={actions.retry}
      />
    );
  }
  return (
    <>
      {found.reason && (
        <p className="jp-GpuPredict-warning">
          {trans.__('%1. What is shown is %2 old. %3', sentence(why), words.span(found.age_s), next)}
        </p>
      )}
      {model.run?.started && model.newest?.remote && (
        <p className="jp-GpuPredict-warning">
          {trans.__(
            'The kernel runs on %1, not on this server (%2): these are not its devices.',
            model.newest.host,
            found.host
          )}
        </p>
      )}
      <ul className="jp-GpuPredict-tiles" aria-label={trans.__('GPUs of the server')}>
        {found.devices.map(device => (
          <Tile key={device.uuid} device={device} words={words} own={model.newest?.pid ?? -1} />
        ))}
      </ul>
    </>
  );
}

function Tile(props: { device: IServerDevice; words: Words; own: number }): React.ReactElement {
  const { device, words } = props;
  const trans = words.trans;
  const missing = (field: string) =>
    trans.__('not available: %1', words.reason(device.reasons[field] ?? 'no_data_yet'));
  const memory =
    device.memory_used_bytes !== null && device.memory_total_bytes
      ? device.memory_used_bytes / device.memory_total_bytes
      : null;
  const facts = [
    device.power_watts === null ? '' : trans.__('%1 W', String(Math.round(device.power_watts))),
    device.mps_clients === null
      ? ''
      : trans._n('%1 MPS client', '%1 MPS clients', device.mps_clients)
  ].filter(Boolean);
  const processes = device.processes;
  return (
    <li className="jp-GpuPredict-tile" data-uuid={device.uuid}>
      <h4>
        {device.index}: {device.name}
      </h4>
      <Meter
        label={trans.__('Busy')}
        ratio={device.utilization_ratio}
        text={words.percent(device.utilization_ratio)}
        missing={missing('utilization_ratio')}
      />
      <Meter
        label={trans.__('Memory')}
        ratio={memory}
        text={trans.__('%1 of %2', words.size(device.memory_used_bytes), words.size(device.memory_total_bytes))}
        missing={missing('memory_used_bytes')}
      />
      <p className="jp-GpuPredict-small">{facts.join(' · ')}</p>
      {processes === null ? (
        <p className="jp-GpuPredict-small">{trans.__('Processes: %1', missing('processes'))}</p>
      ) : (
        <details>
          <summary>
            {trans._n('%1 process', '%1 processes', processes.length)}
          </summary>
          {processes.length === 0 && (
            <p className="jp-GpuPredict-small">{trans.__('No process uses this GPU now.')}</p>
          )}
          <ul className="jp-GpuPredict-processes">
            {processes.slice(0, MAX_PROCESSES).map(process => (
              <li key={process.pid}>
                {process.name || trans.__('unknown')} ({process.pid})
                {process.pid === props.own && ` · ${trans.__('this kernel')}`}
                {process.mps && ' · MPS'} ·{' '}
                {process.memory_bytes === null
                  ? trans.__('memory hidden by the driver')
                  : words.size(process.memory_bytes)}
              </li>
            ))}
          </ul>
          {processes.length > MAX_PROCESSES && (
            <p className="jp-GpuPredict-small">
              {trans.__('and %1 more', String(processes.length - MAX_PROCESSES))}
            </p>
          )}
        </details>
      )}
    </li>
  );
}
