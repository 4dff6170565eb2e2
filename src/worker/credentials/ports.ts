/** What the verification of proofs needs from outside its folder; the worker's composition root fits it. */
import type { PrincipalName } from '../../common/base/principal.ts';
import type { RegisteredKey } from '../../common/ipc/credentials.ts';
import type { Durability } from '../../common/ipc/snapshot.ts';
import type { IdentityRecord } from '../policy/ports.ts';

/** The snapshot's live record. */
export interface KeyedIdentity extends IdentityRecord {
  keys: readonly RegisteredKey[];
}

/** Who is registered, as of now. */
export interface IdentityDirectory {
  identity(name: PrincipalName): KeyedIdentity | undefined;
}

/**
 * What has been seen once, for all workers. Keys have `onceKeyBytes` bytes. One test suite (`store/once-contract.ts`) is
 * passed by every backend.
 */
export interface OnceStore {
  /**
   * Resolves to true when the key was absent, or expired, and now is there as durably as asked, until `expiresAt`
   * (milliseconds, wall clock); to false when it is there already. Of several calls with one key at once, on whatever
   * worker, one resolves to true.
   *
   * Rejects with SallyportError `io` when the backend fails: whether the key is there is not known then.
   *
   * @param key MUST NOT be changed afterwards.
   */
  putIfAbsent(key: Buffer, expiresAt: number, durability: Durability): Promise<boolean>;
  /** Removes keys that have expired, up to some number. @returns how many. */
  sweep(): Promise<number>;
}

export const onceKeyBytes = 16;
