/** HTTP Message Signatures (RFC 9421) of a request, as far as this gateway wants and understands them. */
import { contentDigestHolds } from '../../common/codec/http-signature/content-digest.ts';
import {
  parseSignature,
  signatureBase,
} from '../../common/codec/http-signature/signature-input.ts';
import type { SignatureInput } from '../../common/codec/http-signature/signature-input.ts';
import type { RequestFields } from './request-fields.ts';
import type { SignatureClaim } from './signature-claim.ts';
import type { SignedParts } from './hmac-claim.ts';
import { signatureHolds } from './verify-bytes.ts';

/** Section 2.3 leaves its form open; it is stored as a digest, whatever it is. */
const noncePattern = /^[\x21-\x7e]{16,128}$/;

/** @returns what is wrong, for the log, when something is. */
export function httpMessageClaim(
  fields: RequestFields,
  parts: SignedParts,
): SignatureClaim | string {
  const signature = fields.only('signature');
  const signatureInput = fields.only('signature-input');
  if (signature === undefined || signatureInput === undefined) {
    return 'Signature and Signature-Input do not come once each';
  }
  const input = parseSignature(signatureInput, signature);
  if (typeof input === 'string') return input;
  const { created, expires, nonce, keyId } = input;
  const uncovered = uncoveredPart(input, parts);
  if (uncovered !== undefined) return `the signature does not cover ${uncovered}`;
  if (created === undefined) return 'no time of creation';
  if (nonce === undefined || !noncePattern.test(nonce)) return 'no nonce of 16 to 128 characters';
  if (keyId === undefined) return 'no key id';
  return {
    method: 'http-signature',
    keyId,
    signedAt: created * 1_000,
    expiresAt: expires === undefined ? undefined : expires * 1_000,
    once: `nonce:${nonce}`,
    problemUnder: (key) => {
      // Section 3.2, 6.5: what the key is for decides; what the message says may not disagree.
      if (input.algorithm !== undefined && input.algorithm !== key.algorithm) {
        return 'the algorithm is not that of the key';
      }
      const base = signatureBase(input, (component) => valueOf(component, fields, parts));
      if (base === undefined) return 'a component that is covered is not there, or not one line';
      if (!signatureHolds(key, base, input.signature)) return 'the signature does not verify';
      const digest = fields.joined('content-digest');
      // Also one that nobody needed to cover: a wrong one is a wrong one.
      if (digest !== undefined && !contentDigestHolds(digest, parts.body)) {
        return 'Content-Digest is not that of the body';
      }
      return undefined;
    },
  };
}

/** What else could be changed on the way. */
function uncoveredPart({ components }: SignatureInput, parts: SignedParts): string | undefined {
  const covers = (name: string): boolean => components.includes(name);
  const target = covers('@target-uri') || covers('@request-target');
  if (!covers('@method')) return '@method';
  if (!target && !covers('@path')) return '@path';
  if (!target && parts.query !== undefined && !covers('@query')) return '@query';
  if (parts.body.length > 0 && !covers('content-digest')) return 'content-digest';
  return undefined;
}

/** Section 2.2 for derived components, 2.1 for fields. */
function valueOf(component: string, fields: RequestFields, parts: SignedParts): string | undefined {
  const { method, path, query } = parts;
  const target = query === undefined ? path : `${path}?${query}`;
  switch (component) {
    case '@method':
      return method;
    case '@path':
      return path;
    case '@query':
      return `?${query ?? ''}`;
    case '@request-target':
      return target;
    case '@scheme':
      return 'https';
    case '@authority':
      return authorityOf(fields);
    case '@target-uri': {
      const authority = authorityOf(fields);
      return authority === undefined ? undefined : `https://${authority}${target}`;
    }
    default:
      return component.startsWith('@') ? undefined : fields.joined(component);
  }
}

/** Section 2.2.3: in lower case, without the scheme's own port. */
function authorityOf(fields: RequestFields): string | undefined {
  return fields.only('host')?.toLowerCase().replace(/:443$/, '');
}
