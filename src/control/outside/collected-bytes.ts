/** Pieces of something that comes from outside, up to a bound. */
import { SallyportError } from '../../common/base/errors.ts';

export class CollectedBytes {
  readonly #maxBytes: number;
  readonly #pieces: Buffer[] = [];
  #bytes = 0;

  /** @param announced how many there will be, as their sender says. @throws as `add`. */
  constructor(maxBytes: number, announced = 0) {
    this.#maxBytes = maxBytes;
    this.#bound(announced);
  }

  /** @throws SallyportError `too-large`. */
  add(piece: Buffer): void {
    this.#bytes += piece.length;
    this.#bound(this.#bytes);
    this.#pieces.push(piece);
  }

  whole(): Buffer {
    return Buffer.concat(this.#pieces, this.#bytes);
  }

  #bound(bytes: number): void {
    if (bytes <= this.#maxBytes) return;
    throw new SallyportError('too-large', `it has more than ${this.#maxBytes} bytes`, {
      hint: 'raise its maxBytes in the configuration if it may',
    });
  }
}
