/**
 * One HTTP/1.1 or 1.0 request at a time, out of the bytes of a stranger. Strict and small: a method, a path, a body of a
 * known length. Whatever else RFC 9112 allows and none of these clients needs is refused, so that what it costs to read
 * is what it costs to look at the bytes; node:http makes 2 kB of objects of each of the thousands of requests that one
 * read may bring.
 */
import type { Answer } from './wire.ts';
import { headersTooLarge, lengthRequired, malformed, notFound, tooLarge } from './wire.ts';

export interface StatusRequest {
  readonly method: 'GET' | 'HEAD' | 'POST';
  /** The request target, of visible ASCII. */
  readonly target: string;
  readonly body: Buffer;
  readonly ifNoneMatch: string | undefined;
  /** The peer keeps the connection open after the answer. */
  readonly keepsAlive: boolean;
}

export interface Refused {
  readonly refusal: Answer;
  /** For the log. */
  readonly detail: string;
}

export interface ReaderLimits {
  readonly headerBytes: number;
  readonly headers: number;
  readonly ocspRequestBytes: number;
}

/** `continue`: the head has come, and the peer waits to be told that its body is wanted (RFC 9110 section 10.1.1). */
export type Reading = StatusRequest | Refused | 'more' | 'continue';

interface Head extends Omit<StatusRequest, 'body'> {
  readonly bodyBytes: number;
  readonly expectsContinue: boolean;
}

const headEnd = Buffer.from('\r\n\r\n');
const none = Buffer.alloc(0);
const leastBytes = 512;

/** RFC 9112 section 3, origin-form. */
const requestLine = /^([A-Z]{1,16}) (\/[\x21-\x7e]*) HTTP\/1\.([01])$/;
/** RFC 9110 section 5: no folding, no space before the colon, nothing that is not visible. */
const headerLine = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t ]*([\t\x20-\x7e\x80-\xff]*)$/;
const hostPattern = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%-]+)(?::[0-9]{0,5})?$/;

export class RequestReader {
  readonly #limits: () => ReaderLimits;
  /** What has come and is not read yet; a slice of the read buffer as long as one chunk holds the whole request. */
  #bytes: Buffer = none;
  /** Of a buffer that is larger than what is in it, so that bytes which come one by one are not copied each time. */
  #room: Buffer | undefined;
  #searched = 0;
  #head: Head | undefined;

  constructor(limits: () => ReaderLimits) {
    this.#limits = limits;
  }

  /** Bytes that belong to no request yet. */
  get pending(): number {
    return this.#bytes.length;
  }

  /** A request has begun and is not complete. */
  get begun(): boolean {
    return this.#head !== undefined || this.#bytes.length > 0;
  }

  /** Its head is, but its body is not. */
  get hasHead(): boolean {
    return this.#head !== undefined;
  }

  /** @param chunk kept until it is read. */
  add(chunk: Buffer): void {
    if (this.#bytes.length === 0) {
      this.#bytes = chunk;
      this.#room = undefined;
      return;
    }
    const length = this.#bytes.length + chunk.length;
    if (this.#room === undefined || this.#room.length < length) {
      const room = Buffer.allocUnsafeSlow(Math.max(leastBytes, 2 * length));
      this.#bytes.copy(room);
      this.#room = room;
    }
    chunk.copy(this.#room, this.#bytes.length);
    this.#bytes = this.#room.subarray(0, length);
  }

  /** The next request, once it is there. After a refusal nothing of the connection can be read any more. */
  next(): Reading {
    if (this.#head === undefined) {
      const found = this.#readHead();
      if (!('method' in found)) return 'refusal' in found ? found : 'more';
      this.#head = found;
      if (found.expectsContinue && this.#bytes.length === 0 && found.bodyBytes > 0)
        return 'continue';
    }
    const { bodyBytes, method, target, ifNoneMatch, keepsAlive } = this.#head;
    if (this.#bytes.length < bodyBytes) return 'more';
    const body = this.#bytes.subarray(0, bodyBytes);
    this.#take(bodyBytes);
    this.#head = undefined;
    return { method, target, ifNoneMatch, keepsAlive, body };
  }

  #readHead(): Head | Refused | { readonly missing: true } {
    const limits = this.#limits();
    // The end may have come in two pieces.
    const end = this.#bytes.indexOf(headEnd, Math.max(0, this.#searched - 3));
    if ((end < 0 ? this.#bytes.length : end) > limits.headerBytes)
      return { refusal: headersTooLarge, detail: 'a head that goes on' };
    if (end < 0) {
      // At once, and not when its time is over: TLS and whatever else begins with no letter does not speak HTTP.
      if (!isCapital(this.#bytes[0])) return { refusal: malformed, detail: 'no method' };
      this.#searched = this.#bytes.length;
      return { missing: true };
    }
    const text = this.#bytes.toString('latin1', 0, end);
    this.#take(end + headEnd.length);
    return parseHead(text, limits);
  }

  #take(bytes: number): void {
    this.#searched = 0;
    this.#bytes = bytes === this.#bytes.length ? none : this.#bytes.subarray(bytes);
    // What is left has its beginning elsewhere: it cannot grow where it is.
    this.#room = undefined;
  }
}

function isCapital(octet = 0x41): boolean {
  return octet >= 0x41 && octet <= 0x5a;
}

function refused(refusal: Answer, detail: string): Refused {
  return { refusal, detail };
}

class Fields {
  host: string | undefined;
  length: string | undefined;
  ifNoneMatch: string | undefined;
  connection = '';
  expect: string | undefined;
  hasTransferCoding = false;
}

function parseHead(text: string, limits: ReaderLimits): Head | Refused {
  const lines = text.split('\r\n');
  const [, method = '', target = '', minor = ''] = requestLine.exec(lines[0] ?? '') ?? [];
  if (target === '') return refused(malformed, 'no request line');
  if (lines.length - 1 > limits.headers) return refused(headersTooLarge, 'too many headers');
  const fields = readFields(lines);
  if ('refusal' in fields) return fields;
  // RFC 9112 section 3.2.
  if (minor === '1' && fields.host === undefined) return refused(malformed, 'no Host');
  if (fields.host !== undefined && !hostPattern.test(fields.host))
    return refused(malformed, 'Host');
  if (fields.hasTransferCoding) return refused(lengthRequired, 'a body without its length');
  if (method !== 'GET' && method !== 'HEAD' && method !== 'POST')
    return refused(notFound, 'another method');
  const { length } = fields;
  if (length !== undefined && !/^[0-9]{1,9}$/.test(length))
    return refused(malformed, 'Content-Length');
  if (method === 'POST' && length === undefined) return refused(lengthRequired, 'no length');
  const bodyBytes = Number(length ?? 0);
  if (bodyBytes > (method === 'POST' ? limits.ocspRequestBytes : 0))
    return refused(tooLarge, 'a body that is too large');
  return {
    method,
    target,
    bodyBytes,
    ifNoneMatch: fields.ifNoneMatch,
    keepsAlive: minor === '1' && !/(?:^|[,\t ])close(?:$|[,\t ])/i.test(fields.connection),
    expectsContinue: minor === '1' && fields.expect?.toLowerCase() === '100-continue',
  };
}

/** What says one thing and is there twice is not guessed. */
function readFields(lines: readonly string[]): Fields | Refused {
  const fields = new Fields();
  for (let i = 1; i < lines.length; i += 1) {
    const [, name, spaced = ''] = headerLine.exec(lines[i] ?? '') ?? [];
    if (name === undefined) return refused(malformed, 'a header that is none');
    const key = fieldOf(name);
    if (key === undefined) continue;
    const value = spaced.trimEnd();
    if (key === 'transfer-encoding') fields.hasTransferCoding = true;
    else if (key === 'connection') fields.connection += `,${value}`;
    else if (fields[key] !== undefined) return refused(malformed, `${key} twice`);
    else fields[key] = value;
  }
  return fields;
}

type Field = 'host' | 'length' | 'ifNoneMatch' | 'expect' | 'connection' | 'transfer-encoding';

function fieldOf(name: string): Field | undefined {
  switch (name.toLowerCase()) {
    case 'host':
      return 'host';
    case 'content-length':
      return 'length';
    case 'if-none-match':
      return 'ifNoneMatch';
    case 'expect':
      return 'expect';
    case 'connection':
      return 'connection';
    case 'transfer-encoding':
      return 'transfer-encoding';
    default:
      return undefined;
  }
}
