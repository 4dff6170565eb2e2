/** Identifier octets of the universal types that X.509 uses (X.690 section 8.1.2, X.680 table 1). */
export const tag = Object.freeze({
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  printableString: 0x13,
  teletexString: 0x14,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  universalString: 0x1c,
  bmpString: 0x1e,
  sequence: 0x30,
  set: 0x31,
});

/** `[n]` primitive, as an IMPLICIT string is written. */
export function contextPrimitive(n: number): number {
  return 0x80 | n;
}

/** `[n]` constructed, as EXPLICIT and an IMPLICIT SEQUENCE are written. */
export function contextConstructed(n: number): number {
  return 0xa0 | n;
}
