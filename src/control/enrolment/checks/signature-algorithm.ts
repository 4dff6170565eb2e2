import { oids } from '../../../common/codec/der/oids.ts';
import { refused } from '../refused.ts';
import type { CsrCheck } from './check.ts';

/** Algorithm → the digest that node:crypto verifies with; null where the algorithm brings its own. */
export const signatureDigests: ReadonlyMap<string, string | null> = new Map([
  [oids.ecdsaWithSha256, 'sha256'],
  [oids.ecdsaWithSha384, 'sha384'],
  [oids.ecdsaWithSha512, 'sha512'],
  [oids.sha256WithRsa, 'sha256'],
  [oids.sha384WithRsa, 'sha384'],
  [oids.sha512WithRsa, 'sha512'],
  [oids.ed25519, null],
  [oids.mlDsa44, null],
  [oids.mlDsa65, null],
  [oids.mlDsa87, null],
]);

/** MD5 and SHA-1 signatures can be moved to another request. */
export const checkSignatureAlgorithm: CsrCheck = ({ signatureAlgorithm }) => {
  if (signatureDigests.has(signatureAlgorithm)) return;
  throw refused(
    `the request is signed with ${signatureAlgorithm}, which is not accepted`,
    'sign it with SHA-256 or better: openssl req -new -sha256 …',
  );
};
