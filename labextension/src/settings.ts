/** The user's settings, checked: a value that is none is the default. */
import type { MemoryUnit } from './words';

export interface ISettings {
  refreshMs: number;
  historySeconds: number;
  metrics: string[];
  showStatusItem: boolean;
  memoryUnit: MemoryUnit;
  announce: 'off' | 'polite';
  notify: boolean;
}

export const DEFAULTS: ISettings = {
  refreshMs: 250,
  historySeconds: 600,
  metrics: ['share', 'memory'],
  showStatusItem: true,
  memoryUnit: 'auto',
  announce: 'polite',
  notify: true
};

/** Return the settings that a composite of user and default values holds. */
export function asSettings(values: Readonly<Record<string, unknown>>): ISettings {
  const number = (name: 'refreshMs' | 'historySeconds', low: number, high: number) => {
    const value = values[name];
    return typeof value === 'number' && Number.isFinite(value)
      ? Math.min(high, Math.max(low, value))
      : DEFAULTS[name];
  };
  const metrics = values.metrics;
  return {
    refreshMs: number('refreshMs', 250, 5000),
    historySeconds: number('historySeconds', 30, 3600),
    metrics: Array.isArray(metrics)
      ? metrics.filter((one): one is string => typeof one === 'string')
      : DEFAULTS.metrics,
    showStatusItem:
      typeof values.showStatusItem === 'boolean' ? values.showStatusItem : DEFAULTS.showStatusItem,
    memoryUnit:
      values.memoryUnit === 'MiB' || values.memoryUnit === 'GiB' ? values.memoryUnit : 'auto',
    announce: values.announce === 'off' ? 'off' : 'polite',
    notify: typeof values.notify === 'boolean' ? values.notify : DEFAULTS.notify
  };
}
