/** `X-IoT-Signature`: an HMAC over the canonical form, or over the body alone. */
import { canonicalForm } from '../../common/codec/http-signature/canonical-form.ts';
import type { SignatureClaim } from './signature-claim.ts';
import { signatureHolds } from './verify-bytes.ts';

/** The four headers, or user properties of MQTT; undefined = it did not come. */
export interface HmacFields {
  readonly signature: string;
  readonly timestamp: string | undefined;
  readonly nonce: string | undefined;
  readonly keyId: string | undefined;
}

/** What the signature is over. */
export interface SignedParts {
  readonly method: string;
  readonly path: string;
  readonly query: string | undefined;
  readonly body: Buffer;
}

const signaturePattern = /^[0-9A-Fa-f]{64}$/;
/** Up to the year 33658, and no second way to write any of them. */
const timestampPattern = /^[1-9][0-9]{0,11}$/;
const noncePattern = /^[A-Za-z0-9_-]{16,64}$/;

/** @returns what is wrong, for the log, when something is. */
export function hmacClaim(fields: HmacFields, parts: SignedParts): SignatureClaim | string {
  const { timestamp, nonce, keyId } = fields;
  if (!signaturePattern.test(fields.signature)) return 'the signature is not 64 hexadecimal digits';
  const signature = Buffer.from(fields.signature, 'hex');
  if (timestamp === undefined && nonce === undefined)
    return bodyClaim(signature, keyId, parts.body);
  if (timestamp === undefined || !timestampPattern.test(timestamp))
    return 'no timestamp in seconds';
  if (nonce === undefined || !noncePattern.test(nonce)) return 'no nonce of 16 to 64 characters';
  if (keyId === undefined) return 'no key id';
  const { method, path, query = '', body } = parts;
  // It would begin another line.
  if (path.includes('\n')) return 'a line feed in what is signed';
  return {
    method: 'hmac',
    keyId,
    signedAt: Number(timestamp) * 1_000,
    expiresAt: undefined,
    once: `nonce:${nonce}`,
    problemUnder: (key) => {
      if (key.algorithm !== 'hmac-sha256') return 'the key is not one for HMAC';
      const text = canonicalForm({ method, path, query, timestamp, nonce, keyId, body });
      return signatureHolds(key, text, signature) ? undefined : 'the signature does not verify';
    },
  };
}

function bodyClaim(signature: Buffer, keyId: string | undefined, body: Buffer): SignatureClaim {
  return {
    method: 'body-hmac',
    keyId,
    signedAt: undefined,
    expiresAt: undefined,
    once: `signature:${signature.toString('hex')}`,
    problemUnder: (key) => {
      if (key.algorithm !== 'hmac-sha256') return 'the key is not one for HMAC';
      return signatureHolds(key, body, signature) ? undefined : 'the signature does not verify';
    },
  };
}
