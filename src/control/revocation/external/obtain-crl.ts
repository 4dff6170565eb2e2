/**
 * The bytes of a revocation list, from where the configuration says and nowhere else. Bounded in size, and in time where
 * somebody else sends it; what comes is nothing but bytes until its signature has been verified.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { messageOf, SallyportError } from '../../../common/base/errors.ts';
import { decodePem } from '../../../common/codec/der/pem.ts';
import type { RevocationListSource } from '../../../common/config/config.ts';
import { CollectedBytes } from '../../outside/collected-bytes.ts';
import { fetchBytes } from '../../outside/fetch-bytes.ts';

/** Its text is decoded in one go: a longer list has to be DER. */
const maxPemBytes = 4 * 1024 * 1024;
/** Of one read, so that a file of many megabytes is no single one. */
const pieceBytes = 1024 * 1024;
const pemLabel = 'X509 CRL';

export interface ObtainLimits {
  readonly maxBytes: number;
  readonly timeoutMs: number;
  /** TLS with nothing but approved algorithms; Node's own choice when left out. */
  readonly approvedOnly?: boolean | undefined;
}

/** What is said of a source in logs: the query of a URL may hold a secret. */
export function nameOfSource(source: RevocationListSource): string {
  if ('file' in source) return source.file;
  const { origin, pathname } = new URL(source.url);
  return `${origin}${pathname}`;
}

/**
 * DER; PEM is decoded.
 *
 * @throws SallyportError `io` when it cannot be had, `timeout`, `too-large`, `malformed` when it is PEM of something else.
 */
export async function obtainCrl(
  source: RevocationListSource,
  limits: ObtainLimits,
): Promise<Buffer> {
  try {
    const bytes =
      'file' in source
        ? await readCrlFile(source.file, limits.maxBytes)
        : await fetchBytes(source.url, { ...limits, accept: 'application/pkix-crl' });
    return derOf(bytes);
  } catch (thrown) {
    if (thrown instanceof SallyportError) throw thrown;
    const hint = isDenied(thrown)
      ? {
          hint: 'let its owner make it readable for control; if it is new in the configuration, run: sallyport reload --processes',
        }
      : {};
    throw new SallyportError('io', messageOf(thrown), { cause: thrown, ...hint });
  }
}

/** @throws SallyportError `io`, `too-large`; what the system says. */
export async function readCrlFile(path: string, maxBytes: number): Promise<Buffer> {
  // O_NONBLOCK: opening a FIFO would wait for its writer for ever.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const status = await file.stat();
    if (!status.isFile()) throw new SallyportError('io', 'it is not a regular file');
    const collected = new CollectedBytes(maxBytes);
    for (;;) {
      const { bytesRead, buffer } = await file.read({ buffer: Buffer.alloc(pieceBytes) });
      if (bytesRead === 0) return collected.whole();
      collected.add(buffer.subarray(0, bytesRead));
    }
  } finally {
    await file.close();
  }
}

/** RFC 2585 wants DER; the files of many authorities are PEM. */
function derOf(bytes: Buffer): Buffer {
  if (bytes.subarray(0, 5).toString('latin1') !== '-----') return bytes;
  if (bytes.length > maxPemBytes) {
    throw new SallyportError('too-large', `it is PEM of more than ${maxPemBytes} bytes`, {
      hint: 'write it as DER: openssl crl -outform DER',
    });
  }
  const [der, ...more] = decodePem(pemLabel, bytes.toString('latin1'));
  if (der === undefined || more.length > 0) {
    throw new SallyportError('malformed', 'it is PEM of something else than one list');
  }
  return der;
}

function isDenied(thrown: unknown): boolean {
  const code = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined;
  return code === 'EACCES' || code === 'ERR_ACCESS_DENIED';
}
