/**
 * How much may still be written. LMDB writes every page that it changes to a free place: on a disk without one it cannot
 * even remove what was delivered, and a backend that is back would be of no use. So the last part of the disk is kept
 * for removing, and nothing new is stored in it.
 *
 * When others have filled that too, nothing is written at all: lmdb 3.5.6 describes a write that fails in a buffer that
 * is too small for it (liblmdb/mdb.c, `last_error = malloc(100)`), and its process ends for it sooner or later.
 */
import { statfsSync } from 'node:fs';
import type { Clock } from '../../common/base/clock.ts';
import { messageOf } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';

/** How old an answer may be: some 30 µs of work each time, and no disk loses a quarter of the reserve meanwhile. */
const ageMs = 20;
/** Part of the reserve with which nothing is written. */
const exhaustedPart = 0.25;
/** Of the bound: between this and the bound itself, what held before holds on, or devices would be told by turns. */
const hysteresis = 1.05;

export interface DiskSpaceOptions {
  /** On the disk that is meant. */
  readonly directory: string;
  /** Bytes that are kept. */
  readonly reserveBytes: () => number;
  /** Bytes in the store's own file that it can use again. */
  readonly spareBytes: () => number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** For tests: bytes that the disk has left. */
  readonly freeBytes?: (directory: string) => number;
}

export class DiskSpace {
  readonly #options: DiskSpaceOptions;
  readonly #freeBytes: (directory: string) => number;
  #lookedAt = Number.NEGATIVE_INFINITY;
  #scarce = false;
  #exhausted = false;

  constructor(options: DiskSpaceOptions) {
    this.#options = options;
    this.#freeBytes = options.freeBytes ?? freeBytesOf;
  }

  /** Nothing new may be stored. */
  get scarce(): boolean {
    this.#look();
    return this.#scarce;
  }

  /** Nothing may be written. */
  get exhausted(): boolean {
    this.#look();
    return this.#exhausted;
  }

  /** What cannot be seen is taken to be as it was. */
  #look(): void {
    const { clock, directory, reserveBytes, spareBytes, logger } = this.#options;
    const now = clock.monotonic();
    if (now - this.#lookedAt < ageMs) return;
    this.#lookedAt = now;
    try {
      const leftBytes = this.#freeBytes(directory) + spareBytes();
      const fields = { leftBytes, reserveBytes: reserveBytes() };
      this.#exhausted = isBelow(leftBytes, fields.reserveBytes * exhaustedPart, this.#exhausted);
      const before = this.#scarce;
      this.#scarce = isBelow(leftBytes, fields.reserveBytes, before);
      if (this.#scarce === before) return;
      if (before) logger.info(fields, 'the disk has room again');
      else logger.error(fields, 'the disk is nearly full: devices are told unavailable');
    } catch (error) {
      logger.debug({ err: messageOf(error) }, 'the room on the disk is not known');
    }
  }
}

function isBelow(left: number, bound: number, before: boolean): boolean {
  return left < (before ? bound * hysteresis : bound);
}

function freeBytesOf(directory: string): number {
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize;
}
