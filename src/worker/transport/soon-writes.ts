/** Bytes of one connection that wait for the end of the turn of the event loop, to be one write and one TLS record. */
import { departAtTurnEnd } from './turn-end.ts';
import type { Departing } from './turn-end.ts';

/** What would be more than a TLS record does not wait. */
export const mostSoonBytes = 16_384;

export class SoonWrites implements Departing {
  readonly #write: (bytes: Buffer) => void;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #isDue = false;

  /** @param write MUST NOT throw. */
  constructor(write: (bytes: Buffer) => void) {
    this.#write = write;
  }

  /** Not written yet. */
  get pendingBytes(): number {
    return this.#waitingBytes;
  }

  /** @returns false when it is too much: it has not been taken, and is to be written after `flush`. */
  add(bytes: Buffer): boolean {
    if (this.#waitingBytes + bytes.length > mostSoonBytes) return false;
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (!this.#isDue) {
      this.#isDue = true;
      departAtTurnEnd(this);
    }
    return true;
  }

  depart(): void {
    this.#isDue = false;
    this.flush();
  }

  /** Writes what waits now: something else is to be written behind it. */
  flush(): void {
    const waiting = this.#waiting;
    const first = waiting[0];
    if (first === undefined) return;
    const bytes = waiting.length === 1 ? first : Buffer.concat(waiting, this.#waitingBytes);
    this.drop();
    this.#write(bytes);
  }

  /** It will never be written. */
  drop(): void {
    this.#waiting = [];
    this.#waitingBytes = 0;
  }
}
