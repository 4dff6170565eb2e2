/** The files that a device would use, and what is wrong with them before anybody is asked. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { isPrincipalId, printable } from '../../common/base/principal.ts';
import { oids } from '../../common/codec/der/oids.ts';
import { decodePem, encodePem } from '../../common/codec/der/pem.ts';
import { parseCertificate } from '../../common/identity/certificate.ts';
import type { CertificateFacts } from '../../common/identity/certificate.ts';
import { readSmallFile } from '../files.ts';
import { fault, info, minute, warning } from './finding.ts';
import type { Finding } from './finding.ts';

const maxFileBytes = 256 * 1024;
const dayMs = 86_400_000;
const soonMs = 30 * dayMs;

export interface CredentialFiles {
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly ca: string | undefined;
}

export interface Credentials {
  readonly client: ClientCredentials | undefined;
  /** Roots that the device trusts; undefined = none were named. */
  readonly roots: readonly X509Certificate[] | undefined;
}

export interface ClientCredentials {
  /** Leaf first, as in the file. */
  readonly chain: readonly X509Certificate[];
  readonly facts: CertificateFacts;
  readonly key: KeyObject;
  /** PEM of the chain. */
  readonly pem: string;
}

/** @throws SallyportError `usage` when the options do not go together, `io` or `invalid-certificate` for a file. */
export function readCredentials({ cert, key, ca }: CredentialFiles): Credentials {
  if ((cert === undefined) !== (key === undefined)) {
    throw new SallyportError('usage', 'a certificate goes with its key', {
      hint: 'give both --cert and --key, or neither',
    });
  }
  return {
    client: cert === undefined || key === undefined ? undefined : readClient(cert, key),
    roots: ca === undefined ? undefined : certificatesIn(ca),
  };
}

/** What can be said of the device's own certificate without asking anybody. */
export function clientFindings({ client, roots }: Credentials, now: number): readonly Finding[] {
  if (client === undefined) return [];
  const { facts, chain, key } = client;
  const found: Finding[] = [];
  const leaf = chain[0];
  if (leaf?.checkPrivateKey(key) === false) {
    found.push(
      fault(
        'key-mismatch',
        'the key does not belong to the certificate',
        'give the key with which the certificate was requested; when it is lost, enrol the device again',
      ),
    );
  } else {
    found.push(...weakFindings(client));
  }
  found.push(...validityFindings('client', 'the client certificate', facts, now));
  if (facts.isCa) {
    found.push(
      fault(
        'client-is-ca',
        'the client certificate is the certificate of a CA',
        "put the device's own certificate first in the file of --cert",
      ),
    );
  }
  if (facts.extendedKeyUsage?.includes(oids.clientAuth) === false) {
    found.push(
      fault(
        'client-wrong-eku',
        'the client certificate is not for clients (extendedKeyUsage without clientAuth)',
        'request one for TLS client authentication; a certificate for servers does not serve a device',
      ),
    );
  }
  if (facts.keyUsage?.has('digitalSignature') === false) {
    found.push(
      fault(
        'client-wrong-key-usage',
        'the key of the client certificate may not sign (keyUsage without digitalSignature)',
        'request one with keyUsage digitalSignature',
      ),
    );
  }
  const name = nameFinding(facts);
  if (name !== undefined) found.push(name);
  if (found.length === 0) found.push(info('client-certificate', describe(facts)));
  const short = shortChainFinding(client, roots);
  if (short !== undefined) found.push(short);
  return found;
}

/** OpenSSL takes nothing that is weaker than 112 bits, neither here nor in a gateway. */
function weakFindings({ pem, key }: ClientCredentials): readonly Finding[] {
  try {
    createSecureContext({ cert: pem, key: key.export({ type: 'pkcs8', format: 'pem' }) });
    return [];
  } catch (error) {
    return [
      fault(
        'client-weak',
        `OpenSSL does not use the client certificate: ${messageOf(error)}`,
        'make a new key on P-256, or an RSA key of 2,048 bits or more, and enrol the device again',
      ),
    ];
  }
}

/** @param who `client` or `server`, the beginning of the codes. */
export function validityFindings(
  who: string,
  what: string,
  { notBefore, notAfter }: Pick<CertificateFacts, 'notBefore' | 'notAfter'>,
  now: number,
): readonly Finding[] {
  const clock = `the clock here says ${minute(now)}`;
  if (now < notBefore) {
    return [
      fault(
        `${who}-not-yet-valid`,
        `${what} is valid from ${minute(notBefore)} on; ${clock}`,
        'if the clock is behind, set it (NTP, or GET /time on the status listener for a device without one); else wait, or issue the certificate again',
      ),
    ];
  }
  if (now >= notAfter + 1_000) {
    return [
      fault(
        `${who}-expired`,
        `${what} was valid until ${minute(notAfter)}; ${clock}`,
        who === 'server'
          ? 'if the clock is right, have the gateway renew its certificate: sallyport ca show, sallyport status'
          : 'if the clock is right, renew it: by EST, or with sallyport device enroll',
      ),
    ];
  }
  if (notAfter - now < soonMs) {
    const days = Math.floor((notAfter - now) / dayMs);
    return [
      warning(
        `${who}-expires-soon`,
        `${what} is valid for ${days} more ${days === 1 ? 'day' : 'days'}`,
        'see that it is renewed before',
      ),
    ];
  }
  return [];
}

function nameFinding({ commonNames, sanUris }: CertificateFacts): Finding | undefined {
  const [name] = commonNames;
  if (commonNames.length === 1 && isPrincipalId(name)) return undefined;
  const [uri] = sanUris;
  if (commonNames.length === 0 && sanUris.length === 1 && uri !== undefined) return undefined;
  const shown = commonNames.map((each) => `"${printable(each)}"`).join(' and ');
  return fault(
    'client-bad-name',
    commonNames.length === 0
      ? 'the client certificate names nobody: it has no common name'
      : `the common name of the client certificate is no device id: ${shown}`,
    'request a certificate with exactly one CN of letters, digits, ".", "_", ":" and "-", which is the device id',
  );
}

/** Sallyport knows its own issuing CAs; other servers have to be shown them. */
function shortChainFinding(
  { chain, facts }: ClientCredentials,
  roots: Credentials['roots'],
): Finding | undefined {
  const [leaf] = chain;
  if (leaf === undefined || chain.length > 1 || roots === undefined || facts.isCa) return undefined;
  if (roots.some((root) => leaf.checkIssued(root))) return undefined;
  return warning(
    'client-chain-short',
    'the file of --cert has no issuing CA behind the certificate; a server that trusts the root only will refuse it',
    'append the certificate of the issuing CA to the file',
  );
}

function describe({ commonNames, sanUris, notAfter }: CertificateFacts): string {
  const name = printable(commonNames[0] ?? sanUris[0] ?? '');
  return `the client certificate is that of ${name}, valid until ${minute(notAfter)}`;
}

function readClient(cert: string, key: string): ClientCredentials {
  const chain = certificatesIn(cert);
  const [leaf] = chain;
  if (leaf === undefined) throw new SallyportError('internal', 'an empty chain');
  return {
    chain,
    facts: parseCertificate(leaf.raw),
    key: readKey(key),
    pem: chain.map(({ raw }) => encodePem('CERTIFICATE', raw)).join(''),
  };
}

function certificatesIn(path: string): readonly X509Certificate[] {
  let certificates: X509Certificate[];
  try {
    certificates = decodePem('CERTIFICATE', readSmallFile(path, maxFileBytes)).map(
      (der) => new X509Certificate(der),
    );
  } catch (error) {
    if (error instanceof SallyportError && error.code === 'io') throw error;
    throw new SallyportError('invalid-certificate', `${path}: ${messageOf(error)}`, {
      hint: 'give a PEM file with certificates',
      cause: error,
    });
  }
  if (certificates.length > 0) return certificates;
  throw new SallyportError('invalid-certificate', `${path} has no certificate in it`, {
    hint: 'give a PEM file with certificates',
  });
}

function readKey(path: string): KeyObject {
  const pem = readSmallFile(path, maxFileBytes);
  try {
    return createPrivateKey(pem);
  } catch (error) {
    throw new SallyportError('no-key', `${path} holds no private key that can be read`, {
      hint: 'give an unencrypted private key in PEM',
      cause: error,
    });
  }
}
