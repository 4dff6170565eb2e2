/** The CA's key store as the configuration has it. */
import type { Clock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { CaKeyKind } from '../../common/base/key-kinds.ts';
import type { Pkcs11Config } from '../../common/config/config.ts';
import type { MasterKey } from '../store/master-key.ts';
import { loadCryptoki } from './cryptoki.ts';
import { HardwareKeys } from './hardware-keys.ts';
import type { KeyStore } from './key-store.ts';
import { Pkcs11Keys } from './pkcs11-keys.ts';
import { Pkcs11Token } from './pkcs11-token.ts';
import { SealedKeys } from './sealed-keys.ts';

/** A configured token with the secret that opens it. */
export interface TokenAccess {
  readonly config: Pkcs11Config;
  readonly pin: string;
}

/**
 * MUST be called when the process has become the user that it stays: the module of a token makes files and connections
 * of its own, which that user has to be able to use.
 *
 * @param kind of the keys that are made from now on; with a token, one on a curve.
 * @throws SallyportError `no-key` when the module of the token cannot be loaded.
 */
export async function openKeys(
  masterKey: MasterKey,
  kind: CaKeyKind,
  token: TokenAccess | undefined,
  clock: Pick<Clock, 'monotonic'>,
): Promise<KeyStore> {
  const sealed = new SealedKeys(masterKey, kind);
  if (token === undefined) return sealed;
  if (kind === 'ML-DSA-65') throw new SallyportError('internal', 'no token makes ML-DSA keys');
  const { module, token: label, prefix, ...options } = token.config;
  const session = new Pkcs11Token(
    await loadCryptoki(module),
    { ...options, label, pin: token.pin },
    clock,
  );
  return new HardwareKeys(new Pkcs11Keys(session, prefix, kind), sealed);
}
