/**
 * Storage that all workers share: keyed, with a time to live and compare-and-set. One test suite
 * (`key-value-store-contract.ts`) is passed by every backend.
 */
import type { Durability } from '../../common/ipc/snapshot.ts';

export interface Entry {
  readonly key: string;
  /** Owned by the caller. */
  readonly value: Buffer;
  /** Names this write of the key; no later write of it has the same one. */
  readonly version: number;
}

/** `version` as `get` gave it; undefined = the key must be absent (or expired). */
export interface Condition {
  readonly key: string;
  readonly version: number | undefined;
}

export interface Write {
  readonly key: string;
  /** undefined deletes. */
  readonly value: Buffer | undefined;
  /** Milliseconds, wall clock; the entry is absent from then on. */
  readonly expiresAt?: number;
}

/**
 * Keys are well-formed strings of 1 to `maxKeyBytes` (keys.ts) bytes in UTF-8, ordered by these bytes. Every method rejects with
 * SallyportError `io` when the backend fails or is closed, `usage` for a key out of bounds.
 */
export interface KeyValueStore {
  get(key: string): Promise<Entry | undefined>;
  /**
   * Applies all writes at once, or none of them and resolves to false, when a condition does not hold at that moment.
   * Resolves to true when the writes are as durable as asked. A key may appear in one condition and one write at most.
   */
  commit(
    conditions: readonly Condition[],
    writes: readonly Write[],
    durability: Durability,
  ): Promise<boolean>;
  /**
   * Entries whose key begins with `prefix`, in order. Not a snapshot: what changes meanwhile may be seen or not. Does
   * not hold up the event loop for long, and holds nothing open between two steps.
   */
  scan(prefix: string): AsyncIterable<Entry>;
  /** Removes entries that have expired, up to `limit`. @returns how many. */
  sweep(limit: number): Promise<number>;
  close(): Promise<void>;
}
