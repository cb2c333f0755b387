/** The options of an export as the server's document describes them: help, defaults, bounds. */
import * as React from 'react';

import { IExportRequest, ISchema, SCHEMAS, Schemas } from '../api';
import type { Words } from '../words';
import { sentence } from './parts';

export type OptionName = Exclude<keyof Schemas['ExportRequest'], 'preview' | 'cells' | 'notebook'>;
/** What was entered: a tick, or a text that is yet to be read. */
export type Entered = Partial<Record<OptionName, string | boolean>>;

const OPTIONS = Object.entries(SCHEMAS.ExportRequest.properties ?? {}).filter(
  ([, schema]) => schema.description
);
export const OPTION_NAMES = OPTIONS.map(([name]) => name as OptionName);
const DESCRIBED = Object.fromEntries(
  OPTIONS.map(([name, schema]) => [
    name,
    { ...schema.anyOf?.find(one => one.type !== 'null'), ...schema } // one that may be null, too
  ])
) as Record<OptionName, ISchema>;

/** The one line that says what an option is, with its unit. */
function help(name: OptionName): string {
  const unit = DESCRIBED[name]['x-unit'];
  return sentence(DESCRIBED[name].description ?? '') + (unit ? ` (${unit})` : '');
}

/** What an option is when it is not given. */
export function usual(name: OptionName): string {
  const value = DESCRIBED[name].default;
  return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
}

/** Whether an option is about the function's code. */
export function ofCode(name: OptionName): boolean {
  return DESCRIBED[name]['x-with'] === 'cells';
}

/** Labels as one writes them, `gpu=h200, mps=on`; a part without a value has an empty one. */
export function asLabels(text: string): Record<string, string> {
  return Object.fromEntries(
    asNames(text).map(part => {
      const [key = '', ...value] = part.split('=');
      return [key, value.join('=')];
    })
  );
}

/** Names as one writes them, `data, epochs`. */
export function asNames(text: string): string[] {
  return text.split(/[,\s]+/).filter(Boolean);
}

/** The options that were given; those of the function's code only with the code. */
export function given(entered: Entered, code: boolean): IExportRequest {
  const names = (Object.keys(entered) as OptionName[]).filter(name => code || !ofCode(name));
  return Object.fromEntries(
    names
      .map(name => [name, typeof entered[name] === 'string' ? read(name, entered[name]) : entered[name]])
      .filter(([, value]) => value !== '')
  );
}

function read(name: OptionName, entered: string): string | number | string[] | Record<string, string> {
  const text = entered.trim();
  switch (text && DESCRIBED[name].type) {
    case 'integer':
    case 'number':
      return Number(text);
    case 'array':
      return asNames(text);
    case 'object':
      return asLabels(text);
    default:
      return text;
  }
}

export interface IOptionProps {
  name: OptionName;
  /** In place of the option's own help. */
  label?: string;
  entered: Entered;
  change: (part: Entered) => void;
  words: Words;
}

/** The control of one option. */
export function Option(props: IOptionProps): React.ReactElement {
  const { name, label, entered, change } = props;
  const { type, enum: choices, ...schema } = DESCRIBED[name];
  const value = entered[name];
  if (type === 'boolean') {
    return (
      <label className="jp-GpuPredict-check">
        <input
          type="checkbox"
          checked={value === true}
          onChange={event => change({ [name]: event.target.checked })}
        />
        {help(name)}
      </label>
    );
  }
  const shared = {
    className: 'jp-GpuPredict-input',
    title: label && help(name),
    value: String(value ?? ''),
    onChange: (event: { target: { value: string } }) => change({ [name]: event.target.value })
  };
  const number = type === 'integer' || type === 'number';
  const forms: Record<string, string> = { array: 'A, B, …', object: 'KEY=VALUE, …' };
  return (
    <Field label={label ?? help(name)}>
      {choices ? (
        <select {...shared}>
          {choices.map(one => (
            <option key={one} value={one}>
              {one || props.words.trans.__('not given')}
            </option>
          ))}
        </select>
      ) : (
        <input
          {...shared}
          type={number ? 'number' : 'text'}
          min={schema.minimum}
          max={schema.maximum}
          step={type === 'integer' ? 1 : 'any'}
          maxLength={schema.maxLength}
          placeholder={forms[type ?? ''] ?? usual(name)}
          spellCheck={false}
        />
      )}
    </Field>
  );
}

/** A control with its label. */
export function Field(props: { label: string; children: React.ReactNode }): React.ReactElement {
  return (
    <label className="jp-GpuPredict-field">
      <span>{props.label}</span>
      {props.children}
    </label>
  );
}
