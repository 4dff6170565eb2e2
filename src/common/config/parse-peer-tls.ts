/** How the gateway makes sure of a server that it speaks to, and shows itself: the files and the key that say so, checked. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { BackendClient } from './config.ts';
import type { FilledSecret } from './filled-config.ts';
import { pemProblem } from './pem-problem.ts';
import type { Path } from './yaml-source.ts';

export interface PeerTlsPorts {
  /** Of the bundle; undefined = it was read only to be checked, and keys are not looked at. */
  readonly secrets: Readonly<Record<string, string>> | undefined;
  /** The text of a file of the bundle; undefined when it has none, which has been told. */
  readonly file: (at: Path, file: string) => string | undefined;
  readonly fail: (at: Path, message: string) => void;
}

interface FilledPeerTls {
  readonly ca: string | undefined;
  readonly certificate: string | undefined;
  readonly key: FilledSecret | undefined;
}

interface PeerTls {
  readonly ca: string | undefined;
  readonly client: BackendClient | undefined;
}

/** @param secretAt under which key of the bundle's secrets the private key lies. */
export function parsePeerTls(
  written: FilledPeerTls,
  isPlain: boolean,
  secretAt: string,
  at: Path,
  ports: PeerTlsPorts,
): PeerTls {
  if (isPlain) {
    for (const key of ['ca', 'certificate', 'key'] as const) {
      if (written[key] === undefined) continue;
      // Whoever pins an authority believes that the way is protected.
      ports.fail([...at, key], 'is of no use without TLS; write the URL with https');
    }
    return { ca: undefined, client: undefined };
  }
  const ca = written.ca === undefined ? undefined : certificates([...at, 'ca'], written.ca, ports);
  return { ca, client: clientOf(written, secretAt, at, ports) };
}

function clientOf(
  written: FilledPeerTls,
  secretAt: string,
  at: Path,
  ports: PeerTlsPorts,
): BackendClient | undefined {
  if (written.certificate === undefined && written.key === undefined) return undefined;
  if (written.certificate === undefined || written.key === undefined) {
    const missing = written.key === undefined ? 'key' : 'certificate';
    ports.fail(at, `lacks the key "${missing}": certificate and key go together`);
    return undefined;
  }
  const certificate = certificates([...at, 'certificate'], written.certificate, ports);
  if (certificate === undefined) return undefined;
  if (ports.secrets === undefined) return { certificate, privateKey: undefined };
  const text = Object.hasOwn(ports.secrets, secretAt) ? ports.secrets[secretAt] : undefined;
  const key = text === undefined ? undefined : privateKeyOf(text);
  if (key === undefined) {
    ports.fail([...at, 'key'], 'names what is no private key in PEM without a passphrase');
    return undefined;
  }
  if (!new X509Certificate(certificate).checkPrivateKey(key)) {
    ports.fail([...at, 'key'], 'is not the key of the first certificate of "certificate"');
    return undefined;
  }
  return { certificate, privateKey: key.export({ type: 'pkcs8', format: 'pem' }).toString() };
}

/** The PEM text, when each certificate in it can be read. */
function certificates(at: Path, file: string, ports: PeerTlsPorts): string | undefined {
  const pem = ports.file(at, file);
  if (pem === undefined) return undefined;
  const problem = pemProblem(pem) ?? unreadable(pem);
  if (problem === undefined) return pem;
  ports.fail(at, problem);
  return undefined;
}

function unreadable(pem: string): string | undefined {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/gu) ?? [];
  try {
    for (const block of blocks) void new X509Certificate(block);
  } catch {
    return 'names a file with a certificate that cannot be read';
  }
  return blocks.length === 0 ? 'names a file without a whole PEM certificate' : undefined;
}

/** The reason of a failure would be about the key: it is not told. */
function privateKeyOf(text: string): KeyObject | undefined {
  try {
    return createPrivateKey({ key: text, format: 'pem' });
  } catch {
    return undefined;
  }
}
