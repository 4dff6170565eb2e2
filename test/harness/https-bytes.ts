/**
 * HTTP/1.1 responses read by hand, byte for byte as RFC 9112 writes them and no more leniently: what a parser forgives
 * would hide what a gateway gets wrong.
 */
import type { HttpAnswer } from './https-answer.ts';

export interface RawAnswer extends HttpAnswer {
  readonly reason: string;
  /** Header lines in their order, names as they were written. */
  readonly lines: readonly (readonly [name: string, value: string])[];
}

/** §4: SP after the status code even when there is no reason. */
const statusLine = /^HTTP\/1\.1 (\d{3}) ([\t\x20-\x7e]*)$/;
/** §5.1: no space before the colon, no line folding, nothing but visible characters inside. */
const headerLine =
  /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?)[ \t]*$/;
const maxHeadBytes = 64 * 1024;

type Body =
  | { readonly kind: 'length'; readonly bytes: number }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'until-close' };

interface Head {
  readonly status: number;
  readonly reason: string;
  readonly lines: RawAnswer['lines'];
  readonly headers: ReadonlyMap<string, string>;
}

export class ResponseReader {
  #bytes: Buffer = Buffer.alloc(0);
  #ended = false;

  push(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
  }

  /** No more will come. */
  end(): void {
    this.#ended = true;
  }

  /** What has come and belongs to no response that was taken. */
  get rest(): Buffer {
    return this.#bytes;
  }

  /**
   * The next response, also an interim one (1xx), once all of it is there.
   *
   * @param method of the request that it answers: HEAD has no body.
   * @throws Error for what is no response by the letter, and when the end came in the middle of one.
   */
  take(method = 'GET'): RawAnswer | undefined {
    const end = this.#bytes.indexOf('\r\n\r\n');
    if (end < 0) {
      if (this.#bytes.length > maxHeadBytes) throw new Error('a head without an end');
      // What has come already is judged, so that a defect is named instead of waited for.
      assertLineEnds(this.#bytes);
      return this.#incomplete();
    }
    const head = parseHead(this.#bytes.subarray(0, end));
    const body = takeBody(bodyOf(head, method), this.#bytes.subarray(end + 4), this.#ended);
    if (body === undefined) return this.#incomplete();
    this.#bytes = body.rest;
    return { ...head, body: body.content };
  }

  #incomplete(): undefined {
    if (this.#ended && this.#bytes.length > 0) {
      throw new Error(`the connection ended inside a response: ${shown(this.#bytes)}`);
    }
    return undefined;
  }
}

function parseHead(bytes: Buffer): Head {
  assertLineEnds(bytes);
  const [first = '', ...rest] = bytes.toString('latin1').split('\r\n');
  const [, status, reason] = statusLine.exec(first) ?? [];
  if (status === undefined || reason === undefined) throw new Error(`status line ${shown(bytes)}`);
  const lines = rest.map((line): readonly [string, string] => {
    const [, name, value] = headerLine.exec(line) ?? [];
    if (name === undefined || value === undefined)
      throw new Error(`header ${JSON.stringify(line)}`);
    return [name, value];
  });
  const headers = new Map<string, string>();
  for (const [name, value] of lines) {
    const key = name.toLowerCase();
    const before = headers.get(key);
    headers.set(key, before === undefined ? value : `${before}, ${value}`);
  }
  return { status: Number(status), reason, lines, headers };
}

/** §6.3, in its order. */
function bodyOf({ status, headers }: Head, method: string): Body {
  const coding = headers.get('transfer-encoding');
  const length = headers.get('content-length');
  if (status < 200 || status === 204) {
    if (coding !== undefined || length !== undefined) {
      // RFC 9112 §6.1 and RFC 9110 §8.6: MUST NOT.
      throw new Error(`${status} with a Transfer-Encoding or Content-Length`);
    }
    return { kind: 'length', bytes: 0 };
  }
  if (coding !== undefined && length !== undefined) {
    throw new Error('Transfer-Encoding and Content-Length');
  }
  if (method === 'HEAD' || status === 304) return { kind: 'length', bytes: 0 };
  if (coding !== undefined) {
    if (coding !== 'chunked') throw new Error(`Transfer-Encoding: ${coding}`);
    return { kind: 'chunked' };
  }
  if (length === undefined) return { kind: 'until-close' };
  if (!/^(?:0|[1-9]\d{0,15})$/.test(length)) throw new Error(`Content-Length: ${length}`);
  return { kind: 'length', bytes: Number(length) };
}

interface TakenBody {
  readonly content: Buffer;
  readonly rest: Buffer;
}

function takeBody(body: Body, bytes: Buffer, ended: boolean): TakenBody | undefined {
  if (body.kind === 'chunked') return takeChunks(bytes);
  if (body.kind === 'until-close') {
    return ended ? { content: bytes, rest: Buffer.alloc(0) } : undefined;
  }
  if (bytes.length < body.bytes) return undefined;
  return { content: bytes.subarray(0, body.bytes), rest: bytes.subarray(body.bytes) };
}

/** §7.1; extensions and trailers are nothing that a gateway has to say. */
function takeChunks(bytes: Buffer): TakenBody | undefined {
  const chunks: Buffer[] = [];
  let at = 0;
  for (;;) {
    const end = bytes.indexOf('\r\n', at);
    if (end < 0) {
      assertLineEnds(bytes.subarray(at));
      return undefined;
    }
    const size = bytes.toString('latin1', at, end);
    if (!/^[0-9A-Fa-f]{1,8}$/.test(size)) throw new Error(`chunk size ${JSON.stringify(size)}`);
    const length = Number.parseInt(size, 16);
    at = end + 2;
    if (bytes.length < at + length + 2) return undefined;
    chunks.push(bytes.subarray(at, at + length));
    at += length;
    if (bytes.toString('latin1', at, at + 2) !== '\r\n') throw new Error('no CRLF after a chunk');
    at += 2;
    if (length === 0) return { content: Buffer.concat(chunks), rest: bytes.subarray(at) };
  }
}

/** A CR or LF alone is how one message becomes two (§2.2). */
function assertLineEnds(bytes: Buffer): void {
  if (/(?:^|[^\r])\n|\r[^\n]/.test(bytes.toString('latin1'))) {
    throw new Error(`a CR or LF alone in ${shown(bytes)}`);
  }
}

function shown(bytes: Buffer): string {
  return JSON.stringify(bytes.toString('latin1', 0, 200));
}
