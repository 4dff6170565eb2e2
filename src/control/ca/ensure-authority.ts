/**
 * Makes what is missing of the CA and opens it. Each step writes one file, and each state that a crash can leave is
 * either completed with the key that is already there or refused: there is never a second root.
 */
import type { KeyObject, X509Certificate } from 'node:crypto';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { oids } from '../../common/codec/der/oids.ts';
import { parseCertificate } from '../../common/identity/certificate.ts';
import { ensureDirectory } from '../store/files.ts';
import { CertificateAuthority } from './authority.ts';
import type { AuthorityOptions, ServerPair } from './authority.ts';
import { buildCertificate, distinguishedName, keyIdentifier } from './build-certificate.ts';
import { caFolder, KeyPairFiles, spkiOf } from './key-pair-files.ts';
import { backdateMs, dayMs, profiles } from './profiles.ts';

/** RFC 5280 appendix A.1, ub-organization-name. */
const maxOrganizationCharacters = 64;

/**
 * Idempotent. The server certificate is current when it returns, or at least valid for the names: one that cannot be
 * renewed yet is no reason not to start.
 *
 * @throws SallyportError `no-key` or `tampered` when the files do not belong together or a key is missing that cannot be
 *   made again; `invalid-config` for a server name that no certificate can hold; `io`.
 */
export function ensureAuthority(options: AuthorityOptions): CertificateAuthority {
  ensureDirectory(caFolder);
  const files = new KeyPairFiles(options.masterKey);
  const root = ensureRoot(files, options);
  const issuing = ensureIssuing(files, root, options);
  const server = readServer(files, issuing.certificate);
  const authority = new CertificateAuthority(options, files, root, issuing, server);
  try {
    authority.renewServerTls(options.serverNames);
  } catch (thrown) {
    if (!authority.serves(options.serverNames)) throw thrown;
    options.logger?.error({ err: messageOf(thrown) }, 'server certificate not renewed');
  }
  return authority;
}

/** The pair on disk; undefined when there is none, or a crash left halves of two, or another CA has signed it. */
function readServer(files: KeyPairFiles, issuing: X509Certificate): ServerPair | undefined {
  if (!files.hasKey('server') || !files.hasCertificate('server')) return undefined;
  const certificate = files.readCertificate('server');
  const key = files.readKey('server');
  return certificate.verify(issuing.publicKey) && certificate.checkPrivateKey(key)
    ? { certificate, key }
    : undefined;
}

function ensureRoot(files: KeyPairFiles, options: AuthorityOptions): X509Certificate {
  if (!files.hasCertificate('root')) {
    if (files.hasCertificate('issuing')) {
      throw new SallyportError('tampered', 'the root certificate is gone', {
        hint: `restore ${caFolder}/root.pem from a backup or from a device's ca.crt`,
      });
    }
    const key = files.hasKey('root') ? files.readKey('root') : files.makeKey('root');
    const spki = spkiOf(key);
    const name = caName('Root CA', spki, options.trustDomain);
    files.writeCertificate(
      'root',
      buildCertificate(
        {
          profile: profiles.root,
          subject: name,
          issuer: name,
          spki,
          issuerSpki: spki,
          alternativeNames: [],
          ...validity(options, profiles.root.days),
        },
        key,
      ),
    );
  }
  const root = files.readCertificate('root');
  if (!root.ca || !root.verify(root.publicKey)) throw mismatch('root', 'it does not sign itself');
  return root;
}

function ensureIssuing(
  files: KeyPairFiles,
  root: X509Certificate,
  options: AuthorityOptions,
): { readonly certificate: X509Certificate; readonly key: KeyObject } {
  if (!files.hasCertificate('issuing')) signIssuing(files, root, options);
  const certificate = files.readCertificate('issuing');
  if (!certificate.checkIssued(root) || !certificate.verify(root.publicKey)) {
    throw mismatch('issuing', 'the root did not sign it');
  }
  const key = files.readKey('issuing');
  if (!certificate.checkPrivateKey(key)) throw mismatch('issuing', 'its key is another');
  return { certificate, key };
}

function signIssuing(files: KeyPairFiles, root: X509Certificate, options: AuthorityOptions): void {
  if (!files.hasKey('root')) {
    throw new SallyportError('no-key', 'the issuing CA is gone and the root key is not here', {
      hint: `restore the folder ${caFolder} from a backup`,
    });
  }
  const rootKey = files.readKey('root');
  if (!root.checkPrivateKey(rootKey)) throw mismatch('root', 'its key is another');
  const key = files.hasKey('issuing') ? files.readKey('issuing') : files.makeKey('issuing');
  const spki = spkiOf(key);
  const rootFacts = parseCertificate(root.raw);
  const { notBefore, notAfter } = validity(options, profiles.issuing.days);
  files.writeCertificate(
    'issuing',
    buildCertificate(
      {
        profile: profiles.issuing,
        subject: caName('Issuing CA', spki, options.trustDomain),
        issuer: rootFacts.subject,
        spki,
        issuerSpki: spkiOf(rootKey),
        alternativeNames: [],
        notBefore,
        notAfter: Math.min(notAfter, rootFacts.notAfter),
      },
      rootKey,
    ),
  );
}

/** The key's identifier in the name keeps CAs of two installations apart where both are trusted. */
function caName(role: string, spki: Buffer, trustDomain: string): Buffer {
  return distinguishedName([
    [oids.organizationName, trustDomain.slice(0, maxOrganizationCharacters)],
    [oids.commonName, `Sallyport ${role} ${keyIdentifier(spki).toString('hex', 0, 4)}`],
  ]);
}

function validity(
  options: AuthorityOptions,
  days: number,
): { readonly notBefore: number; readonly notAfter: number } {
  const now = options.clock.now();
  return { notBefore: now - backdateMs, notAfter: now + days * dayMs };
}

function mismatch(name: string, why: string): SallyportError {
  return new SallyportError('tampered', `the ${name} certificate does not fit: ${why}`, {
    hint: `restore the folder ${caFolder} from a backup`,
  });
}
