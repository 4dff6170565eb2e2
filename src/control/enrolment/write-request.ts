/** A PKCS #10 request (RFC 2986 section 4) for a key that the gateway has made, so that it passes the same checks as any. */
import { createPublicKey, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { principalParts } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { oids } from '../../common/codec/der/oids.ts';
import { contextConstructed } from '../../common/codec/der/tag.ts';
import {
  bitString,
  element,
  oid,
  sequence,
  unsignedInteger,
} from '../../common/codec/der/writer.ts';
import { distinguishedName } from '../ca/build-certificate.ts';

/** DER. `privateKey` is on P-256. */
export function writeCertificationRequest(name: PrincipalName, privateKey: KeyObject): Buffer {
  const info = sequence(
    unsignedInteger(0),
    distinguishedName([[oids.commonName, principalParts(name).id]]),
    createPublicKey(privateKey).export({ type: 'spki', format: 'der' }),
    element(contextConstructed(0)),
  );
  const signature = sign('sha256', info, { key: privateKey, dsaEncoding: 'der' });
  return sequence(info, sequence(oid(oids.ecdsaWithSha256)), bitString(signature));
}
