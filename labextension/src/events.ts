/**
 * The events of a run: one JSON object each, in the form of a trace file's lines. NaN travels as null.
 *
 * tests/data/events holds one of each kind, written by Python and read by the tests here.
 */
import { ISchema, SCHEMAS, Schemas } from './api';
import schemas from './schema.json';

export type RunEvent = Schemas['Event'];
export type ISeries = Schemas['Series'];
export type IMemoryEstimate = Schemas['MemoryEstimate'];
export type IRecommendation = Schemas['Recommendation'];
export type RunState = IRecommendation['state'];
export type ISessionStarted = Schemas['SessionStarted'];
export type IProgressMade = Schemas['ProgressMade'];
export type ISessionFinished = Schemas['SessionFinished'];

const EVENTS: Readonly<Record<string, string>> = schemas.Event.discriminator.mapping;

/**
 * Return the event that a parsed object holds, with the defaults of what an older writer left out;
 * null when this code cannot read it.
 *
 * Unknown fields and words are kept, as newer writers may add some.
 */
export function asEvent(value: unknown): RunEvent | null {
  const kind = isRecord(value) ? String(value.event) : '';
  const found = Object.hasOwn(EVENTS, kind) ? read(value, { $ref: EVENTS[kind] }) : undefined;
  return (found ?? null) as RunEvent | null;
}

/** Return the value with its defaults; undefined when it does not fit. */
function read(value: unknown, schema: ISchema): unknown {
  if (value === undefined) {
    return schema.default;
  }
  if (schema.$ref) {
    return read(value, SCHEMAS[schema.$ref.split('/').at(-1) as keyof typeof SCHEMAS]);
  }
  if (schema.anyOf) {
    return schema.anyOf.map(one => read(value, one)).find(found => found !== undefined);
  }
  switch (schema.type) {
    case undefined:
      return value === schema.const ? value : undefined;
    case 'null':
      return value === null ? value : undefined;
    case 'integer':
      return typeof value === 'number' ? value : undefined;
    case 'array':
      return Array.isArray(value) ? readAll(value, schema.items) : undefined;
    case 'object':
      return isRecord(value) ? readObject(value, schema.properties ?? {}) : undefined;
    default:
      return typeof value === schema.type ? value : undefined;
  }
}

/** Plain numbers and texts are taken as they are: there may be many, and nothing is left out of them. */
function readAll(values: unknown[], item: ISchema | undefined): unknown[] | undefined {
  const found = item?.$ref ? values.map(value => read(value, item)) : values;
  return found.includes(undefined) ? undefined : found;
}

function readObject(value: Record<string, unknown>, properties: Record<string, ISchema>): object | undefined {
  const found = { ...value };
  for (const [name, schema] of Object.entries(properties)) {
    found[name] = read(value[name], schema);
    if (found[name] === undefined) {
      return undefined;
    }
  }
  return found;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
