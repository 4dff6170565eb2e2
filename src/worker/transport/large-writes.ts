/**
 * What is too large to be written at once on a connection that is mostly silent. node:tls keeps buffers as large as the
 * largest write that a connection was ever given: after one of 60 kB 80 kB more a session, for good. In pieces of 1 KiB,
 * each handed over when the one before has been taken, it is 11 kB more; in pieces of 4 KiB 20 to 60. It costs about
 * half a millisecond of CPU per 60 kB, so a connection that has much to send all the time is not treated so.
 */
import type { Writable } from 'node:stream';
import type { Clock } from '../../common/base/clock.ts';

/**
 * More than this, a TLS record, is a large write. What is less goes as it is, and may leave a buffer of its size: a burst
 * of messages to many subscribers, 9 kB for each, took 4.1 µs a message in pieces and takes 1.4 (mqtt-fan-out).
 */
export const largeBytes = 16_384;
/** What a large write is cut into. */
export const pieceBytes = 1_024;
/** What a connection gets in pieces in a second, and what may wait to be written so. */
const sparedBytes = 256 * 1_024;
const secondMs = 1_000;

export interface LargeWritesParts {
  readonly socket: Writable;
  readonly clock: Clock;
  /** Called when a `write` has returned false, and everything has been taken. */
  readonly onDrain: () => void;
}

export class LargeWrites {
  readonly #parts: LargeWritesParts;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #writing = false;
  /** Begin of the second in which `#secondsBytes` were written. */
  #second = Number.NEGATIVE_INFINITY;
  #secondsBytes = 0;

  constructor(parts: LargeWritesParts) {
    this.#parts = parts;
  }

  /** Bytes that the socket has not been given yet. */
  get pendingBytes(): number {
    return this.#waitingBytes;
  }

  /** In the order of the calls. @returns false when `onDrain`, or the socket's `drain`, will tell that it was taken. */
  write(bytes: Buffer): boolean {
    const spared = this.#spared(bytes.length);
    if (!this.#writing && (!spared || bytes.length <= largeBytes)) {
      return this.#parts.socket.write(bytes);
    }
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (!this.#writing) this.#next();
    else if (this.#waitingBytes > sparedBytes) this.handOver();
    return false;
  }

  /** Gives the socket all that waits. */
  handOver(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (const bytes of waiting) this.#parts.socket.write(bytes);
  }

  #spared(bytes: number): boolean {
    const now = this.#parts.clock.monotonic();
    if (now - this.#second >= secondMs) {
      this.#second = now;
      this.#secondsBytes = 0;
    }
    this.#secondsBytes += bytes;
    return this.#secondsBytes <= sparedBytes;
  }

  #next(): void {
    const first = this.#waiting[0];
    this.#writing = first !== undefined;
    if (first === undefined) {
      this.#parts.onDrain();
      return;
    }
    const piece = first.subarray(0, pieceBytes);
    if (piece.length === first.length) this.#waiting.shift();
    else this.#waiting[0] = first.subarray(pieceBytes);
    this.#waitingBytes -= piece.length;
    this.#parts.socket.write(piece, (error) => {
      // Nothing more can be written, and the connection's end is told elsewhere.
      if (error === null || error === undefined) this.#next();
    });
  }
}
