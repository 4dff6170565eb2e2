/**
 * Keys whose SubjectPublicKeyInfo is always written the same way (RFC 5480, RFC 8410), told by how it begins and how long
 * it is: uncompressed points on named curves. Whether the point is on its curve is OpenSSL's to say.
 */

/** Head: all before the key itself; octets: of the whole. */
const forms = [
  ['P-256', Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex'), 91],
  ['P-384', Buffer.from('3076301006072a8648ce3d020106052b8104002203620004', 'hex'), 120],
  ['Ed25519', Buffer.from('302a300506032b6570032100', 'hex'), 44],
] as const;

export type PlainKeyKind = (typeof forms)[number][0];

/** @param spki DER. @returns undefined for any other kind or way to write it. */
export function plainKeyKind(spki: Buffer): PlainKeyKind | undefined {
  return forms.find(
    ([, head, octets]) => spki.length === octets && spki.subarray(0, head.length).equals(head),
  )?.[0];
}
