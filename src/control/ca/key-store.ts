/**
 * Where the CA's private keys live, by name: sealed on disk, or in a PKCS#11 token that never gives them away. Whoever
 * needs a signature gets a `Signer` and cannot tell which.
 */
import type { Signer } from './signer.ts';

export interface KeyStore {
  /** @throws SallyportError `unavailable` when the hardware does not answer. */
  has(name: string): Promise<boolean>;
  /**
   * The key of that name; undefined when there is none.
   *
   * @throws SallyportError `tampered` when there is more than one, it is not a pair, or it is not what it is taken for;
   *   `no-key` when it cannot be opened; `unavailable`.
   */
  find(name: string): Promise<Signer | undefined>;
  /** A new key, of the kind that the store was made for, under a name that is free. @throws SallyportError `already-exists`, `io`, `unavailable`. */
  make(name: string): Promise<Signer>;
  /** For good. Idempotent. @throws SallyportError `io`, `unavailable`. */
  remove(name: string): Promise<void>;
  /** PKCS#8 PEM, for whoever takes a key away. @throws SallyportError `no-key` when there is none or it never leaves. */
  exportKey(name: string): Promise<string>;
}
