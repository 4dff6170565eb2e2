/** Files of certificates that the configuration names: what is wrong with one, and what is in it. */

/** @returns the end of a sentence; undefined when there is a certificate and no key. */
export function pemProblem(pem: string): string | undefined {
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/u.test(pem))
    return 'names a file with a private key; name the certificates only';
  return pem.includes('-----BEGIN CERTIFICATE-----')
    ? undefined
    : 'names a file without a PEM certificate';
}

/** Each certificate by itself. */
export function splitPem(pem: string): string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
}
