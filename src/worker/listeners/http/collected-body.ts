/**
 * A body as it comes together. A piece that is kept as it came costs half a kilobyte, and may pin the whole buffer that
 * it was read into: what is collected here costs at most twice its bytes, however small its pieces are.
 */
export class CollectedBody {
  readonly #maxBytes: number;
  #buffer: Buffer = empty;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** @returns false when there is no room for it: nothing is kept then. */
  add(piece: Buffer): boolean {
    const bytes = this.#bytes + piece.length;
    if (bytes > this.#maxBytes) {
      this.#buffer = empty;
      return false;
    }
    if (this.#bytes === 0) {
      // Most bodies have one piece.
      this.#buffer = piece;
    } else {
      if (bytes > this.#buffer.length) this.#grow(bytes);
      piece.copy(this.#buffer, this.#bytes);
    }
    this.#bytes = bytes;
    return true;
  }

  /** All of it, to own. */
  take(): Buffer {
    const buffer = this.#buffer;
    this.#buffer = empty;
    const isAlone = this.#bytes === buffer.buffer.byteLength;
    return isAlone ? buffer : Buffer.from(buffer.subarray(0, this.#bytes));
  }

  #grow(bytes: number): void {
    const larger = Buffer.allocUnsafeSlow(
      Math.min(this.#maxBytes, Math.max(leastBytes, 2 * bytes)),
    );
    this.#buffer.copy(larger, 0, 0, this.#bytes);
    this.#buffer = larger;
  }
}

const empty = Buffer.alloc(0);
const leastBytes = 1_024;
