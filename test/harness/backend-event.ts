/**
 * CloudEvents as a strict backend reads them: the HTTP protocol binding 1.0.2 (binary and batched content mode) and the
 * JSON format 1.0.2, plus what the gateway promises on top. Shares no code with what writes them.
 */
import { createHash } from 'node:crypto';

/** One event as it arrived. */
export interface ReceivedEvent {
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly subject: string;
  readonly time: string;
  readonly contentType: string;
  /** From the source: the principal's kind and id. */
  readonly kind: string;
  readonly device: string;
  /** Member `seq` of the payload; undefined when the payload is no JSON object with a number there. */
  readonly seq: number | undefined;
  /** Member `sending`, likewise: how often the sender had sent that message when it sent this. */
  readonly sending: number | undefined;
  /** Of the payload's bytes. In a batch JSON data has been written anew: only its value is the sender's. */
  readonly bytes: number;
  readonly sha256: string;
  /** The payload as text, when it is UTF-8 and not long. */
  readonly text: string | undefined;
}

export interface ReceivedRequest {
  readonly method: string;
  /** Names in lower case with every value that was sent. */
  readonly headers: Readonly<Record<string, readonly string[] | undefined>>;
  readonly body: Buffer;
}

export type ContentMode = 'binary' | 'batch';

export interface ParsedRequest {
  readonly mode: ContentMode;
  readonly events: readonly ReceivedEvent[];
}

/** @throws Error that says what is wrong with the form. */
export function parseEvents(request: ReceivedRequest): ParsedRequest {
  if (request.method !== 'POST') fail(`method ${request.method}`);
  const contentType = single(request, 'content-type');
  if (contentType === undefined) fail('no Content-Type');
  if (/^application\/cloudevents-batch\+json(?: *; *charset=utf-8)?$/i.test(contentType)) {
    return { mode: 'batch', events: batchOf(request) };
  }
  // HTTP binding §3: anything else that begins so is structured mode or a format that nobody agreed on.
  if (/^application\/cloudevents/i.test(contentType)) fail(`Content-Type ${contentType}`);
  return { mode: 'binary', events: [binaryOf(request, contentType)] };
}

/** HTTP binding §3.1: an attribute a header, the body is the data. */
function binaryOf(request: ReceivedRequest, contentType: string): ReceivedEvent {
  const attributes = new Map<string, unknown>();
  for (const header of Object.keys(request.headers)) {
    if (!header.startsWith('ce-')) continue;
    const value = single(request, header);
    if (value !== undefined) attributes.set(header.slice(3), headerText(header, value));
  }
  // §3.1.1: it is the Content-Type, and said twice the two could differ.
  if (attributes.has('datacontenttype')) fail('ce-datacontenttype beside Content-Type');
  return eventOf(attributes, contentType, request.body);
}

/** JSON format §4: an array of events; HTTP binding §3.3: no attribute is a header. */
function batchOf(request: ReceivedRequest): ReceivedEvent[] {
  const stray = Object.keys(request.headers).find((name) => name.startsWith('ce-'));
  if (stray !== undefined) fail(`header ${stray} with a batch`);
  const value: unknown = JSON.parse(utf8(request.body));
  if (!Array.isArray(value) || value.length === 0) fail('a batch is a JSON array of events');
  const events = value.map(jsonEventOf);
  if (new Set(events.map(({ id }) => id)).size < events.length) fail('an id twice in one batch');
  return events;
}

function jsonEventOf(value: unknown): ReceivedEvent {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) fail('no JSON object');
  const members = new Map<string, unknown>(Object.entries(value));
  const contentType = members.get('datacontenttype');
  if (typeof contentType !== 'string') fail('no datacontenttype');
  const data = dataOf(members, contentType);
  for (const name of ['data', 'data_base64', 'datacontenttype']) members.delete(name);
  return eventOf(members, contentType, data);
}

/** JSON format §3.1. */
function dataOf(members: ReadonlyMap<string, unknown>, contentType: string): Buffer {
  const base64 = members.get('data_base64');
  if (base64 === undefined) {
    const data = members.get('data');
    if (data === undefined) fail('neither data nor data_base64');
    if (isJsonType(contentType)) return Buffer.from(JSON.stringify(data));
    if (typeof data !== 'string') fail(`data of ${contentType} that is no string`);
    return Buffer.from(data);
  }
  if (members.has('data')) fail('data and data_base64');
  if (typeof base64 !== 'string') fail('data_base64 that is no string');
  const bytes = Buffer.from(base64, 'base64');
  if (bytes.toString('base64') !== base64) fail('data_base64 that is no base64');
  return bytes;
}

/** CloudEvents §3: names, the required attributes, and their values. */
function eventOf(
  attributes: ReadonlyMap<string, unknown>,
  contentType: string,
  data: Buffer,
): ReceivedEvent {
  for (const [name, value] of attributes) {
    if (!/^[a-z0-9]{1,20}$/.test(name)) fail(`attribute name ${name}`);
    if (!['string', 'boolean', 'number'].includes(typeof value)) fail(`attribute ${name}`);
  }
  if (attributes.get('specversion') !== '1.0') fail('specversion is not 1.0');
  const text = (name: string): string => {
    const value = attributes.get(name);
    if (typeof value !== 'string' || value === '') fail(`no ${name}`);
    return value;
  };
  const source = text('source');
  const [, kind, device] =
    /^spiffe:\/\/[a-z0-9._-]+\/(device|service|operator)\/([A-Za-z0-9][A-Za-z0-9._:-]{0,127})$/.exec(
      source,
    ) ?? [];
  if (kind === undefined || device === undefined) fail(`source ${source}`);
  const type = text('type');
  if (!/^com\.sallyport\.[a-z0-9.-]+\.v\d+$/.test(type)) fail(`type ${type}`);
  const time = text('time');
  if (!isTimestamp(time)) fail(`time ${time}`);
  if (!/^[!#$%&'*+.^_`|~\w-]+\/[!#$%&'*+.^_`|~\w-]+[ \t]*(?:;.*)?$/.test(contentType)) {
    fail(`content type ${contentType}`);
  }
  return {
    id: text('id'),
    source,
    type,
    subject: text('subject'),
    time,
    contentType,
    kind,
    device,
    ...payloadOf(data),
  };
}

const maxTextBytes = 4096;

function payloadOf(
  data: Buffer,
): Pick<ReceivedEvent, 'seq' | 'sending' | 'bytes' | 'sha256' | 'text'> {
  let text: string | undefined;
  let members = new Map<string, unknown>();
  try {
    text = utf8(data);
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) members = new Map(Object.entries(value));
  } catch {
    // A payload may be anything.
  }
  const number = (name: string): number | undefined => {
    const value = members.get(name);
    return typeof value === 'number' ? value : undefined;
  };
  return {
    seq: number('seq'),
    sending: number('sending'),
    bytes: data.length,
    sha256: createHash('sha256').update(data).digest('hex'),
    text: data.length > maxTextBytes ? undefined : text,
  };
}

/** HTTP binding §3.1.3.2: what is not visible ASCII, and `"` and `%`, is percent-encoded UTF-8. */
function headerText(header: string, value: string): string {
  if (!/^(?:[\x21\x23\x24\x26-\x7e]|%[0-9A-Fa-f]{2})+$/.test(value)) fail(`${header}: ${value}`);
  // Throws for what is no UTF-8.
  return decodeURIComponent(value);
}

function single({ headers }: ReceivedRequest, name: string): string | undefined {
  const values = headers[name];
  if (values !== undefined && values.length > 1) fail(`${name} more than once`);
  return values?.[0];
}

/** RFC 3339 §5.6, and a day that there is. */
function isTimestamp(text: string): boolean {
  return (
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/.test(text) &&
    !Number.isNaN(Date.parse(text))
  );
}

function isJsonType(contentType: string): boolean {
  return /^[^/;]+\/(?:json|[^/;]+\+json) *(?:;|$)/i.test(contentType);
}

function utf8(bytes: Buffer): string {
  return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
}

function fail(what: string): never {
  throw new Error(what);
}
