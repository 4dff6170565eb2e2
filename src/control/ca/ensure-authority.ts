/** Makes what is missing of the CA and opens it. */
import { messageOf } from '../../common/base/errors.ts';
import { ensureDirectory } from '../store/files.ts';
import { CertificateAuthority } from './authority.ts';
import type { AuthorityOptions } from './authority.ts';
import { caFolder } from './certificate-files.ts';
import { openHierarchy } from './hierarchy.ts';
import type { KeyStore } from './key-store.ts';
import { SealedKeys } from './sealed-keys.ts';
import { readServerPair } from './server-pair.ts';

export interface EnsureAuthorityOptions extends AuthorityOptions {
  /** Where the keys of the CAs are; sealed on disk when left out. */
  readonly keys?: KeyStore | undefined;
}

/**
 * Idempotent. The server certificate is current when it resolves, or at least valid for the names: one that cannot be
 * renewed yet is no reason not to start.
 *
 * @throws SallyportError `no-key` or `tampered` when the files do not belong together or a key is missing that cannot be
 *   made again; `invalid-config` for a server name that no certificate can hold; `io`; `unavailable`.
 */
export async function ensureAuthority(
  options: EnsureAuthorityOptions,
): Promise<CertificateAuthority> {
  ensureDirectory(caFolder);
  const sealed = new SealedKeys(options.masterKey);
  const { trustDomain, clock, keys = sealed } = options;
  const hierarchy = await openHierarchy({ keys, trustDomain, clock });
  const authority = new CertificateAuthority(options, {
    hierarchy,
    serverKeys: sealed,
    server: readServerPair(sealed, hierarchy.issuers),
    rootKeyHere: await hierarchy.hasRootKey(),
  });
  try {
    await authority.renewServerTls(options.serverNames);
  } catch (thrown) {
    if (!authority.serves(options.serverNames)) throw thrown;
    options.logger?.error({ err: messageOf(thrown) }, 'server certificate not renewed');
  }
  await authority.prepareNext();
  return authority;
}
