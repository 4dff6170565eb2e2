/**
 * HTTP/1.1 requests of one connection, one after another, out of the bytes of a peer (RFC 9112). Strict: what two readers
 * could take differently, a backend behind us and a proxy before us among them, is a defect and the end of the connection.
 * No line folding, no bare CR or LF, no space before a colon, no Content-Length that is not digits, comes twice, or comes
 * with Transfer-Encoding, and no coding but `chunked`.
 */
import { BodyReader, goesOn } from './body-reader.ts';
import type { Defect, Framing } from './body-reader.ts';
import { tokensOf, trimmed } from './field-text.ts';

/** What the request line and the headers say, and how the body is framed. */
export class RequestText {
  readonly method: string;
  /** As it was sent. */
  readonly target: string;
  /** `1.1`; other versions are the caller's to turn down. */
  readonly version: string;
  /** Names and values in turn, without the space around values; nothing is left out. */
  readonly rawHeaders: readonly string[];
  readonly framing: Exclude<Framing, 'until-close'>;
  /** No other request follows: the peer has said so, or speaks an older version (RFC 9112 §9.3). */
  readonly isLast: boolean;
  /** RFC 9110 §10.1.1; undefined = nothing is expected. */
  readonly expect: string | undefined;
  /** It asks for another protocol, in good form (RFC 9110 §7.8). */
  readonly isUpgrade: boolean;

  constructor(line: readonly [method: string, target: string, version: string], fields: Fields) {
    [this.method, this.target, this.version] = line;
    this.rawHeaders = fields.headers;
    this.framing = fields.coding === undefined ? Number(fields.length ?? 0) : 'chunked';
    const connection = tokensOf(fields.connection);
    this.isLast = this.version !== '1.1' || connection.includes('close');
    this.expect = fields.expect;
    this.isUpgrade = fields.hasUpgrade && connection.includes('upgrade');
  }

  /** All values of a header, in their order. @param name in lower case. */
  values(name: string): string[] {
    const { rawHeaders } = this;
    const found: string[] = [];
    for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
      const each = rawHeaders[i] ?? '';
      if (each.length === name.length && each.toLowerCase() === name) {
        found.push(rawHeaders[i + 1] ?? '');
      }
    }
    return found;
  }

  /** The same as one list (RFC 9110 §5.3); undefined = there is none. */
  value(name: string): string | undefined {
    const found = this.values(name);
    return found.length === 0 ? undefined : found.join(', ');
  }
}

/** What one piece of input has brought. */
export interface RequestReading {
  readonly request: RequestText | undefined;
  /** A slice of the input. */
  readonly body: Buffer | undefined;
  /** The request ends here. */
  readonly complete: boolean;
  /** Bytes of the input that come after it. */
  readonly rest: number;
}

/** `head`: it is longer than its bound. `body`: its lines are, or its chunks cost more than what is in them is worth. */
export interface RequestDefect extends Defect {
  readonly exceeds?: 'head' | 'body';
}

const headEnd = Buffer.from('\r\n\r\n');
const cr = 0x0d;
const lf = 0x0a;

export class RequestParser {
  readonly #body: BodyReader;
  readonly #headerBytes: number;
  #inHead = true;
  /** The beginning of a head whose end has not come yet. */
  #held: Buffer | undefined;

  /** @param headerBytes of a head, and of trailers. */
  constructor(headerBytes: number) {
    this.#headerBytes = headerBytes;
    this.#body = new BodyReader(headerBytes);
  }

  /** Some of a request has come, and not all of its head. Half an empty line is nothing of it. */
  get inHead(): boolean {
    return this.#held !== undefined && this.#held[0] !== cr;
  }

  /**
   * Reads to the end of a request or of the input. Nothing may be read after a defect.
   *
   * @param input overwritten in part: chunks are moved together, so that a piece of input brings one piece of body.
   */
  read(input: Buffer): RequestReading | RequestDefect {
    if (!this.#inHead) return this.#readBody(undefined, input, 0);
    const held = this.#held;
    this.#held = undefined;
    const chunk = held === undefined ? input : Buffer.concat([held, input]);
    const heldBytes = held?.length ?? 0;
    const from = afterEmptyLines(chunk);
    // The end may have come in two pieces.
    const search = Math.max(from, heldBytes - (headEnd.length - 1));
    const end = chunk.indexOf(headEnd, search);
    // All but the last octet of its end may have come.
    const upTo = end < 0 ? chunk.length - (headEnd.length - 1) : end;
    if (upTo - from > this.#headerBytes) {
      return beginsWithLine(chunk.toString('latin1', from, upTo)) ? tooLarge : defects.line;
    }
    if (end < 0) return this.#hold(chunk.subarray(from), Math.max(0, heldBytes - from));
    const request = parseRequest(chunk.toString('latin1', from, end));
    if ('defect' in request) return request;
    this.#inHead = false;
    this.#body.begin(request.framing);
    return this.#readBody(request, chunk, end + headEnd.length);
  }

  /**
   * What cannot become a head any more is refused at once, and not when its time is over.
   *
   * @param checked octets of it were here before, and are not looked at again: whoever sends one at a time would have a head
   * read as many times as it has octets.
   */
  #hold(beginning: Buffer, checked: number): RequestReading | RequestDefect {
    if (beginning.length === 0) return nothing;
    const from = beginning[checked - 1] === cr ? checked - 1 : checked;
    if (misplaced.test(beginning.toString('latin1', from))) return defects.octets;
    const lineEnd = beginning.indexOf('\r\n');
    if (lineEnd < 0 || lineEnd >= checked - 1) {
      const text = beginning.toString('latin1');
      // Half an empty line is none.
      if (text !== '\r' && !beginsWithLine(text)) return defects.line;
    }
    // A copy: the rest of what was read with it is not to stay for as long as it takes.
    this.#held = Buffer.from(beginning);
    return nothing;
  }

  #readBody(
    request: RequestText | undefined,
    chunk: Buffer,
    from: number,
  ): RequestReading | RequestDefect {
    const reading = this.#body.read(chunk, from);
    if ('defect' in reading) return reading.defect === goesOn ? tooLong : reading;
    const { body, end } = reading;
    const { done, isTooFine } = this.#body;
    if (isTooFine) return tooFine;
    if (done) this.#inHead = true;
    return { request, body, complete: done, rest: chunk.length - end };
  }
}

const nothing: RequestReading = Object.freeze({
  request: undefined,
  body: undefined,
  complete: false,
  rest: 0,
});

const defects = {
  octets: { defect: 'a control character, or half a line end' },
  line: { defect: 'no request line' },
  method: { defect: 'an unknown method' },
  header: { defect: 'a header that is none' },
  length: { defect: 'a Content-Length that is none' },
  lengthTwice: { defect: 'Content-Length twice' },
  coding: { defect: 'another Transfer-Encoding than chunked' },
  both: { defect: 'Content-Length and Transfer-Encoding' },
} as const satisfies Record<string, RequestDefect>;
const tooLarge: RequestDefect = { defect: 'a head that goes on', exceeds: 'head' };
const tooFine: RequestDefect = { defect: 'chunks of next to nothing', exceeds: 'body' };
const tooLong: RequestDefect = { defect: goesOn, exceeds: 'body' };

/** Those that are registered with IANA and in use; CONNECT is not, for there is nothing here to connect to. */
const methods: ReadonlySet<string> = new Set(
  (
    'GET HEAD POST PUT DELETE OPTIONS TRACE PATCH QUERY ACL BIND CHECKOUT COPY LABEL LINK LOCK MERGE MKACTIVITY ' +
    'MKCALENDAR MKCOL MOVE ORDERPATCH PROPFIND PROPPATCH REBIND REPORT SEARCH UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE ' +
    'M-SEARCH NOTIFY PURGE SUBSCRIBE UNSUBSCRIBE'
  ).split(' '),
);

/** RFC 9112 §3: one space each; of a target nothing but what is visible. */
const linePattern = /^[A-Z-]{1,20} [\x21-\x7e]+ HTTP\/(?:0\.9|1\.[01]|2\.0)$/;
const beginsLikeLine = /^[A-Z-]{1,20}(?: (?:[\x21-\x7e]+(?: [HTP/0-9.]{0,8}\r?)?)?)?$/;
/** All of a head at once, which costs half of what its lines cost one by one. RFC 9110 §5.1, §5.5. */
const headPattern =
  /^[A-Z-]{1,20} [\x21-\x7e]+ HTTP\/(?:0\.9|1\.[01]|2\.0)(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*)*$/;
/** What no part of a head may have: an octet that no line has, LF alone, CR alone before the end of what has come. */
const misplaced = /[^\t\r\n\x20-\x7e\x80-\xff]|(?<!\r)\n|\r(?!\n|$)/;
/** What is larger is not counted exactly. */
const lengthPattern = /^[0-9]{1,15}$/;

/** Whether what has come of a head has a request line, or the begin of one. */
function beginsWithLine(text: string): boolean {
  const lineEnd = text.indexOf('\r\n');
  return lineEnd < 0 ? beginsLikeLine.test(text) : linePattern.test(text.slice(0, lineEnd));
}

class Fields {
  readonly headers: string[] = [];
  length: string | undefined;
  coding: string | undefined;
  expect: string | undefined;
  hasUpgrade = false;
  connection = '';
}

/** RFC 9112 §2.2: a client may have sent a line too many after its last request. */
function afterEmptyLines(chunk: Buffer): number {
  let at = 0;
  while (chunk[at] === cr && chunk[at + 1] === lf) at += 2;
  return at;
}

/** @param text from the request line to the last header, without the empty line. */
function parseRequest(text: string): RequestText | RequestDefect {
  if (!headPattern.test(text)) {
    const [line = ''] = text.split('\r\n', 1);
    return linePattern.test(line) ? defects.header : defects.line;
  }
  const methodEnd = text.indexOf(' ');
  const targetEnd = text.indexOf(' ', methodEnd + 1);
  const lineEnd = text.indexOf('\r\n', targetEnd);
  const method = text.slice(0, methodEnd);
  if (!methods.has(method)) return defects.method;
  const fields = new Fields();
  for (let at = lineEnd; at >= 0;) {
    const colon = text.indexOf(':', at);
    const next = text.indexOf('\r\n', colon);
    const value = trimmed(text, colon + 1, next < 0 ? text.length : next);
    const defect = put(fields, text.slice(at + 2, colon), value);
    if (defect !== undefined) return defect;
    at = next;
  }
  const target = text.slice(methodEnd + 1, targetEnd);
  const version = text.slice(targetEnd + versionAt, targetEnd + versionAt + 3);
  // RFC 9112 §6.1, §6.3: whoever guesses here is the one through whom requests are smuggled.
  if (fields.coding !== undefined) {
    if (fields.length !== undefined) return defects.both;
    if (fields.coding.toLowerCase() !== 'chunked') return defects.coding;
  }
  return new RequestText([method, target, version], fields);
}

/** From the space before `HTTP/1.1` to its digits. */
const versionAt = ' HTTP/'.length;

function put(fields: Fields, name: string, value: string): RequestDefect | undefined {
  fields.headers.push(name, value);
  switch (name.length) {
    case 6:
      if (name.toLowerCase() === 'expect') {
        fields.expect = fields.expect === undefined ? value : `${fields.expect}, ${value}`;
      }
      break;
    case 7:
      if (name.toLowerCase() === 'upgrade') fields.hasUpgrade = true;
      break;
    case 10:
      if (name.toLowerCase() === 'connection') fields.connection += `,${value}`;
      break;
    case 14:
      if (name !== 'Content-Length' && name.toLowerCase() !== 'content-length') break;
      // Also twice the same.
      if (fields.length !== undefined) return defects.lengthTwice;
      if (!lengthPattern.test(value)) return defects.length;
      fields.length = value;
      break;
    case 17:
      if (name.toLowerCase() !== 'transfer-encoding') break;
      if (fields.coding !== undefined) return defects.coding;
      fields.coding = value;
      break;
    default:
  }
  return undefined;
}
