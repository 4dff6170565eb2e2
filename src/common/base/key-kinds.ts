/** Kinds of keys that certificates are made for. RSA: of 2,048 bits and more. */
export const keyKinds = [
  'P-256',
  'P-384',
  'Ed25519',
  'RSA',
  'ML-DSA-44',
  'ML-DSA-65',
  'ML-DSA-87',
] as const;

export type KeyKind = (typeof keyKinds)[number];

/** What every TLS library of the last ten years can do. */
export const usualKeyKinds: readonly KeyKind[] = ['P-256', 'P-384', 'Ed25519', 'RSA'];

/** Of the CA's own keys. */
export const caKeyKinds = ['P-256', 'P-384', 'ML-DSA-65'] as const;

export type CaKeyKind = (typeof caKeyKinds)[number];

/** FIPS 204: needs TLS 1.3 and a library of 2025 or later. */
export function isMlDsa(kind: KeyKind): boolean {
  return kind.startsWith('ML-DSA-');
}
