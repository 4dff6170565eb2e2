/** The head of an answer, and how the body that follows it is framed (RFC 9112 §4 to §6). */
import type { Defect } from '../../../common/codec/http/body-reader.ts';
import { tokensOf, trimmed } from '../../../common/codec/http/field-text.ts';
import type { AnswerHead } from './ports.ts';

/** Of one answer. */
const maxHeaders = 128;

/** What is expected: an answer to HEAD has no body, and only one to an upgrade may be 101. */
export type Expected = 'answer' | 'head-only' | 'upgrade';

export interface ParsedHead extends AnswerHead {
  /** The connection may be used again after this answer. */
  readonly keepAlive: boolean;
  /** What the server says of how long it keeps it. */
  readonly keepAliveMs: number | undefined;
}

/** `length`: of `bodyBytes`, which may be 0. */
export interface FramedHead extends ParsedHead {
  readonly framing: 'length' | 'chunked' | 'until-close';
}

/** RFC 9112 §4; the space before an empty reason is often left out. */
const statusPattern = /^HTTP\/1\.[01] [1-5][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?$/;
/**
 * All of a head at once, which costs half of what its lines cost one by one. RFC 9110 §5.1, §5.5: no folding, no space
 * before the colon, no control character.
 */
const headPattern =
  /^HTTP\/1\.[01] [1-5][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*)*$/;
/** Where the status line has its digits. */
const minorAt = 7;
const statusAt = 9;
const statusEnd = 12;
/** What is larger is not counted exactly. */
const lengthPattern = /^[0-9]{1,15}$/;

class Fields {
  readonly headers: string[] = [];
  length: string | undefined;
  coding: string | undefined;
  connection = '';
  keepAlive = '';
  upgrade = '';
}

/** @param text from the status line to the last header, without the empty line. */
export function parseHead(text: string, expected: Expected): FramedHead | Defect {
  if (!headPattern.test(text)) {
    const [first = ''] = text.split('\r\n', 1);
    return bad(statusPattern.test(first) ? 'a header that is none' : 'no status line');
  }
  const fields = readFields(text);
  if ('defect' in fields) return fields;
  const status = Number(text.slice(statusAt, statusEnd));
  const isCurrent = text[minorAt] === '1';
  const connection = tokensOf(fields.connection);
  const head = {
    status,
    headers: withoutNamed(fields.headers, connection),
    keepAlive: isCurrent && !connection.includes('close'),
    keepAliveMs: keepAliveMs(fields.keepAlive),
  };
  if (status === 101) return switching(head, fields, connection, expected);
  return framed(head, fields, isCurrent, expected);
}

/** @param text of which `headPattern` is true. */
function readFields(text: string): Fields | Defect {
  const fields = new Fields();
  let count = 0;
  for (let at = text.indexOf('\r\n'); at >= 0;) {
    count += 1;
    if (count > maxHeaders) return bad('too many headers');
    const colon = text.indexOf(':', at);
    const next = text.indexOf('\r\n', colon);
    const value = trimmed(text, colon + 1, next < 0 ? text.length : next);
    const defect = put(fields, text.slice(at + 2, colon), value);
    if (defect !== undefined) return bad(defect);
    at = next;
  }
  return fields;
}

/** RFC 9110 §7.6.1: what is between the server and us stays there. */
function put(fields: Fields, name: string, value: string): string | undefined {
  switch (connectionFields.has(name.length) ? name.toLowerCase() : '') {
    case 'content-length':
      // RFC 9112 §6.3: also twice the same.
      if (fields.length !== undefined) return 'Content-Length twice';
      if (!lengthPattern.test(value)) return 'a Content-Length that is none';
      fields.length = String(Number(value));
      fields.headers.push(name, fields.length);
      return undefined;
    case 'transfer-encoding':
      if (fields.coding !== undefined) return 'Transfer-Encoding twice';
      fields.coding = value;
      return undefined;
    case 'connection':
      fields.connection += `,${value}`;
      return undefined;
    case 'keep-alive':
      fields.keepAlive = value;
      return undefined;
    case 'upgrade':
      fields.upgrade += `,${value}`;
      return undefined;
    case 'te':
    case 'trailer':
    case 'proxy-connection':
    case 'proxy-authenticate':
      return undefined;
    default:
  }
  fields.headers.push(name, value);
  return undefined;
}

/** The lengths of the names above: all others are passed on without being looked at. */
const connectionFields: ReadonlySet<number> = new Set([2, 7, 10, 14, 16, 17, 18]);

function framed(
  head: Omit<ParsedHead, 'bodyBytes'>,
  { length, coding }: Fields,
  isCurrent: boolean,
  expected: Expected,
): FramedHead | Defect {
  // RFC 9112 §6.1, §6.3: whoever guesses here is the one through whom answers are smuggled.
  if (length !== undefined && coding !== undefined) {
    return bad('Content-Length and Transfer-Encoding');
  }
  if (coding !== undefined && (!isCurrent || coding.toLowerCase() !== 'chunked')) {
    return bad('another Transfer-Encoding than chunked');
  }
  if (head.status === 204) {
    // It may have no body, and a server that announces one may send it all the same.
    const isPlain = coding === undefined && (length ?? '0') === '0';
    const headers = length === undefined ? head.headers : without(head.headers, ['content-length']);
    const keepAlive = head.keepAlive && isPlain;
    return whole({ ...head, headers, keepAlive }, 0, 'length');
  }
  if (expected === 'head-only') {
    // A server that answers as it would to GET sends the body a moment later: it would be the answer to whoever asks next.
    return whole({ ...head, keepAlive: false }, 0, 'length');
  }
  if (head.status === 304 || head.status < 200) return whole(head, 0, 'length');
  if (coding !== undefined) return whole(head, undefined, 'chunked');
  if (length !== undefined) return whole(head, Number(length), 'length');
  return whole({ ...head, keepAlive: false }, undefined, 'until-close');
}

/** RFC 9110 §7.8, RFC 6455 §4.2.2. */
function switching(
  head: Omit<ParsedHead, 'bodyBytes'>,
  { upgrade, length, coding }: Fields,
  connection: readonly string[],
  expected: Expected,
): FramedHead | Defect {
  if (expected !== 'upgrade') return bad('101 that nobody asked for');
  const protocols = tokensOf(upgrade);
  if (protocols.length !== 1 || protocols[0] !== 'websocket' || !connection.includes('upgrade')) {
    return bad('101 to another protocol than WebSocket');
  }
  if (length !== undefined || coding !== undefined) return bad('101 with a body');
  return whole(head, 0, 'length');
}

/** Written out: to spread an object of which one is made for each request costs more than all that is in it. */
function whole(
  { status, headers, keepAlive, keepAliveMs: serverMs }: Omit<ParsedHead, 'bodyBytes'>,
  bodyBytes: number | undefined,
  framing: FramedHead['framing'],
): FramedHead {
  return { status, headers, bodyBytes, keepAlive, keepAliveMs: serverMs, framing };
}

function withoutNamed(
  headers: readonly string[],
  connection: readonly string[],
): readonly string[] {
  if (connection.length === 0) return headers;
  const named = connection.filter((name) => !harmless.has(name));
  return named.length === 0 ? headers : without(headers, named);
}

/** Names in `Connection` that are no headers, or none that it could take away. */
const harmless: ReadonlySet<string> = new Set(['close', 'keep-alive', 'upgrade', 'content-length']);

function without(headers: readonly string[], names: readonly string[]): readonly string[] {
  return headers.filter((_, i) => !names.includes((headers[i - (i % 2)] ?? '').toLowerCase()));
}

function keepAliveMs(value: string): number | undefined {
  if (value === '') return undefined;
  const seconds = /(?:^|[,\t ])timeout=([0-9]{1,6})(?:$|[,\t ])/i.exec(value)?.[1];
  return seconds === undefined ? undefined : Number(seconds) * 1_000;
}

export function bad(defect: string): Defect {
  return { defect };
}
