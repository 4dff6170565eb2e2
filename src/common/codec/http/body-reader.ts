/**
 * The body of an HTTP/1.1 message, as its head has framed it (RFC 9112 §6, §7.1). Strict: what can be read in two ways is a
 * defect, since whoever reads it behind us may read it in the other one.
 */

/** Of the line before a chunk, extensions included. */
const maxSizeLineBytes = 256;
/** 2^52 and more is not counted exactly. */
const maxSizeDigits = 13;
/** Beyond these many chunks, fewer bytes than that in one on average are worth less than what reading them costs. */
const freeChunks = 256;
const minChunkBytes = 16;

const cr = 0x0d;
const lf = 0x0a;
/** What is said of a line or of trailers that have no end. */
export const goesOn = 'a line that goes on';

type State = 'length' | 'size' | 'chunk' | 'chunk-end' | 'trailers' | 'until-close' | 'done';

/** A number of bytes, which may be 0. */
export type Framing = number | 'chunked' | 'until-close';

/** What one piece of input has brought: `body` is a slice of it, and `end` is where it was read up to. */
export interface BodyReading {
  readonly body: Buffer | undefined;
  readonly end: number;
}

/** Nothing of the connection can be read any more. */
export interface Defect {
  readonly defect: string;
}

export class BodyReader {
  readonly #trailerLimit: number;
  #state: State = 'done';
  /** Of a body with a length, or of a chunk. */
  #left = 0;
  /** Those that have begun, and the bytes that they have announced; the last, empty one is none. */
  #chunks = 0;
  #chunkBytes = 0;
  #isTooFine = false;
  #sawCr = false;
  #trailerBytes = 0;
  /** Of a chunk's size, or a trailer: as far as it has come. */
  #line = '';

  constructor(trailerBytes: number) {
    this.#trailerLimit = trailerBytes;
  }

  get done(): boolean {
    return this.#state === 'done';
  }

  /**
   * This body has come in chunks of next to nothing. It is judged as each begins, whatever comes after it, so that it makes no
   * difference how the bytes come.
   */
  get isTooFine(): boolean {
    return this.#isTooFine;
  }

  begin(framing: Framing): void {
    this.#chunks = 0;
    this.#chunkBytes = 0;
    this.#isTooFine = false;
    if (framing === 'chunked') {
      this.#startSize();
    } else if (framing === 'until-close') {
      this.#state = 'until-close';
    } else {
      this.#left = framing;
      this.#state = framing === 0 ? 'done' : 'length';
    }
  }

  /**
   * The peer has closed the connection in good order.
   * @returns whether that is the end of the body.
   */
  close(): boolean {
    const isEnd = this.#state === 'until-close';
    if (isEnd) this.#state = 'done';
    return isEnd;
  }

  /**
   * Reads on at `from`, to the end of the body or of the input.
   *
   * @param input overwritten in part: chunks are moved together, so that a piece of input brings one piece of body.
   */
  read(input: Buffer, from: number): BodyReading | Defect {
    switch (this.#state) {
      case 'length': {
        const end = Math.min(input.length, from + this.#left);
        this.#left -= end - from;
        if (this.#left === 0) this.#state = 'done';
        return { body: end > from ? input.subarray(from, end) : undefined, end };
      }
      case 'until-close': {
        const body = input.length > from ? input.subarray(from) : undefined;
        return { body, end: input.length };
      }
      case 'done':
        return { body: undefined, end: from };
      default:
        return this.#readChunks(input, from);
    }
  }

  #readChunks(input: Buffer, from: number): BodyReading | Defect {
    let at = from;
    let bodyStart = -1;
    let bodyEnd = -1;
    while (at < input.length && this.#state !== 'done') {
      if (this.#state === 'chunk') {
        const end = Math.min(input.length, at + this.#left);
        if (bodyStart < 0) {
          bodyStart = at;
          bodyEnd = end;
        } else {
          input.copyWithin(bodyEnd, at, end);
          bodyEnd += end - at;
        }
        this.#left -= end - at;
        at = end;
        if (this.#left === 0) this.#startLine('chunk-end');
        continue;
      }
      const octet = input[at] ?? 0;
      at += 1;
      const defect = this.#octet(octet);
      if (defect !== undefined) return { defect };
    }
    const body = bodyEnd > bodyStart ? input.subarray(bodyStart, bodyEnd) : undefined;
    return { body, end: at };
  }

  /** One that is not of a chunk's data. */
  #octet(octet: number): string | undefined {
    switch (this.#state) {
      case 'size':
        return this.#sizeOctet(octet);
      case 'chunk-end':
        if (octet !== (this.#sawCr ? lf : cr)) return 'a chunk without its end';
        if (this.#sawCr) this.#startSize();
        else this.#sawCr = true;
        return undefined;
      default:
        return this.#trailerOctet(octet);
    }
  }

  #sizeOctet(octet: number): string | undefined {
    if (!this.#sawCr) {
      if (octet === cr) this.#sawCr = true;
      // A bare LF above all: nobody is waited for who believes that the line is over.
      else if (!isText(octet)) return 'a chunk size that is none';
      else if (this.#line.length === maxSizeLineBytes) return goesOn;
      else this.#line += String.fromCharCode(octet);
      return undefined;
    }
    if (octet !== lf) return 'a bare CR in a chunk size';
    if (!sizePattern.test(this.#line)) return 'a chunk size that is none';
    const digits = this.#line.split(';', 1).join('');
    if (digits.length > maxSizeDigits) return 'a chunk size beyond all measure';
    this.#left = Number.parseInt(digits, 16);
    if (this.#left > 0) {
      this.#startChunk();
    } else {
      this.#trailerBytes = 0;
      this.#startLine('trailers');
    }
    return undefined;
  }

  /** RFC 9110 §6.5.1: they may be dropped, and are, when they are such as nobody takes for anything else. */
  #trailerOctet(octet: number): string | undefined {
    this.#trailerBytes += 1;
    if (this.#trailerBytes > this.#trailerLimit) return goesOn;
    if (this.#sawCr) {
      if (octet !== lf) return 'a bare CR in the trailers';
      if (this.#line === '') {
        this.#state = 'done';
        return undefined;
      }
      if (!trailerPattern.test(this.#line)) return 'a trailer that is none';
      if (framingPattern.test(this.#line)) return 'a trailer that frames a body';
      this.#startLine('trailers');
      return undefined;
    }
    if (octet === cr) {
      this.#sawCr = true;
      return undefined;
    }
    if (!isText(octet)) return 'a control character in the trailers';
    this.#line += String.fromCharCode(octet);
    return undefined;
  }

  #startChunk(): void {
    this.#state = 'chunk';
    this.#chunks += 1;
    this.#chunkBytes += this.#left;
    if (this.#chunkBytes < (this.#chunks - freeChunks) * minChunkBytes) this.#isTooFine = true;
  }

  #startSize(): void {
    this.#startLine('size');
    this.#left = 0;
  }

  #startLine(state: State): void {
    this.#state = state;
    this.#sawCr = false;
    this.#line = '';
  }
}

/**
 * RFC 9112 §7.1: digits and extensions, without the blanks that senders must not make. A quotation mark that stays open is for
 * some readers the begin of what goes on behind the line's end.
 */
const sizePattern =
  /^[0-9A-Fa-f]+(?:;[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:=(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"))?)*$/;
/** RFC 9110 §5.1, §5.5. */
const trailerPattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*$/;
/** RFC 9110 §6.5.1: whoever looks at it would read the message anew. */
const framingPattern = /^(?:content-length|transfer-encoding|connection|host):/i;

function isText(octet: number): boolean {
  return (octet >= 0x20 && octet !== 0x7f) || octet === 0x09;
}
