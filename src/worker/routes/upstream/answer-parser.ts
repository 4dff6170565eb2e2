/**
 * HTTP/1.1 answers of one connection, one after another, out of the bytes of a server (RFC 9112). Strict: what can be read
 * in two ways is refused, since the device behind us may read it in the other one.
 */
import { BodyReader } from '../../../common/codec/http/body-reader.ts';
import type { Defect } from '../../../common/codec/http/body-reader.ts';
import { bad, parseHead } from './answer-head.ts';
import type { Expected, FramedHead, ParsedHead } from './answer-head.ts';

/** 1xx before one answer. */
const maxInterim = 8;

/** What one piece of input has brought. */
export interface Reading {
  readonly head: ParsedHead | undefined;
  /** A slice of the input. */
  readonly body: Buffer | undefined;
  /** The answer ends here. */
  readonly complete: boolean;
  /** Bytes of the input that come after it. */
  readonly rest: number;
}

const headEnd = Buffer.from('\r\n\r\n');

export class AnswerParser {
  readonly #headerBytes: number;
  readonly #body: BodyReader;
  #expected: Expected = 'answer';
  #inHead = false;
  /** The beginning of a head whose end has not come yet. */
  #held: Buffer | undefined;
  #interim = 0;
  #begun = false;

  /** @param headerBytes of a head, and of the trailers. */
  constructor(headerBytes: number) {
    this.#headerBytes = headerBytes;
    this.#body = new BodyReader(headerBytes);
  }

  /** Some of the answer has come. */
  get begun(): boolean {
    return this.#begun;
  }

  /** Another request has been sent. */
  expect(expected: Expected): void {
    this.#expected = expected;
    this.#inHead = true;
    this.#held = undefined;
    this.#interim = 0;
    this.#begun = false;
  }

  /**
   * @param input overwritten in part: chunks are moved together, so that a piece of input brings one piece of body.
   */
  read(input: Buffer): Reading | Defect {
    let at = 0;
    let head: ParsedHead | undefined;
    let chunk = input;
    if (input.length > 0) this.#begun = true;
    if (this.#inHead) {
      if (this.#held !== undefined) chunk = Buffer.concat([this.#held, input]);
      const found = this.#readHeads(chunk);
      if (found === undefined) return nothing;
      if ('defect' in found) return found;
      ({ head, at } = found);
    }
    const reading = this.#body.read(chunk, at);
    if ('defect' in reading) return reading;
    const { body, end } = reading;
    return { head, body, complete: this.#body.done, rest: chunk.length - end };
  }

  /**
   * The server has closed the connection in good order.
   * @returns whether that is the end of the answer.
   */
  close(): boolean {
    return !this.#inHead && this.#body.close();
  }

  #readHeads(
    chunk: Buffer,
  ): { readonly head: ParsedHead; readonly at: number } | Defect | undefined {
    let from = 0;
    // The end may have come in two pieces.
    let search = this.#held === undefined ? 0 : Math.max(0, this.#held.length - 3);
    this.#held = undefined;
    for (;;) {
      const end = chunk.indexOf(headEnd, search);
      if ((end < 0 ? chunk.length : end) - from > this.#headerBytes)
        return bad('a head that goes on');
      if (end < 0) {
        if (!beginsLikeHead(chunk, from)) return bad('no status line');
        // A copy: the input is used again for what comes next.
        this.#held = Buffer.from(chunk.subarray(from));
        return undefined;
      }
      const parsed = parseHead(chunk.toString('latin1', from, end), this.#expected);
      if ('defect' in parsed) return parsed;
      from = end + headEnd.length;
      search = from;
      if (parsed.status >= 200 || parsed.status === 101) {
        this.#begin(parsed);
        return { head: parsed, at: from };
      }
      this.#interim += 1;
      if (this.#interim > maxInterim) return bad('interim answers without end');
    }
  }

  #begin({ framing, bodyBytes = 0 }: FramedHead): void {
    this.#inHead = false;
    this.#body.begin(framing === 'length' ? bodyBytes : framing);
  }
}

const nothing: Reading = Object.freeze({
  head: undefined,
  body: undefined,
  complete: false,
  rest: 0,
});

/** At once, and not when its time is over: TLS and whatever else does not speak HTTP. */
function beginsLikeHead(chunk: Buffer, from: number): boolean {
  const beginning = chunk.toString('latin1', from, from + statusBeginning.length);
  return statusBeginning.startsWith(beginning);
}

const statusBeginning = 'HTTP/1.';
