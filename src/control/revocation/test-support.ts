/** For tests and benchmarks: a CA of one certificate, its registry, and a clock to be turned by hand. */
import { X509Certificate } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import { encodePem } from '../../common/codec/der/pem.ts';
import { oids } from '../../common/codec/der/oids.ts';
import { principalName } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { parseCertificate } from '../../common/identity/certificate.ts';
import { buildCertificate, distinguishedName, keyIdentifier } from '../ca/build-certificate.ts';
import { dayMs, profiles } from '../ca/profiles.ts';
import { generateKey } from '../ca/sealed-keys.ts';
import { softwareSigner } from '../ca/signer.ts';
import type { Signer } from '../ca/signer.ts';
import type { StatusIssuer } from './issuer.ts';

export interface TestIssuer extends StatusIssuer {
  readonly pem: string;
  /** PEM of a new certificate under it. */
  issue(id: string, notAfter?: number, extensions?: readonly Buffer[]): Promise<string>;
}

/** @param change what the issuer's signer does instead of what it is made to do. */
export async function testIssuer(
  name: string,
  nowMs: number,
  change: (signer: Signer) => Signer = (signer) => signer,
): Promise<TestIssuer> {
  const real = newSigner();
  const subject = distinguishedName([[oids.commonName, name]]);
  const validity = { notBefore: nowMs - dayMs, notAfter: nowMs + 1_000 * dayMs };
  const content = { alternativeNames: [], issuer: subject, ...validity };
  const der = await buildCertificate(
    { ...content, profile: profiles.issuing, subject, spki: real.spki },
    real,
  );
  return {
    id: keyIdentifier(real.spki).toString('hex'),
    certificate: new X509Certificate(der),
    signer: change(real),
    notAfter: parseCertificate(der).notAfter,
    pem: encodePem('CERTIFICATE', der),
    async issue(id, notAfter = validity.notAfter, extensions = []) {
      const { spki } = newSigner();
      const leaf = { ...content, profile: profiles.device, spki, notAfter, extensions };
      const leafDer = await buildCertificate(
        { ...leaf, subject: distinguishedName([[oids.commonName, id]]) },
        real,
      );
      return encodePem('CERTIFICATE', leafDer);
    },
  };
}

function newSigner(): Signer {
  return softwareSigner(generateKey());
}

export interface TestCertificate {
  readonly serial: string;
  readonly notAfter: number;
  readonly revokedAt?: number;
  readonly reason?: number;
}

/** Puts certificates into the registry as if they had been issued to one device. */
export function recordCertificates(
  database: DatabaseSync,
  issuer: string,
  certificates: Iterable<TestCertificate>,
): void {
  const device: PrincipalName = principalName('device', 'd1');
  database
    .prepare(
      `INSERT INTO identities (name, standing, resume_to, role, anchor, created_at, updated_at)
        VALUES (?, 'active', 'active', 'device', 'internal', 0, 0) ON CONFLICT DO NOTHING`,
    )
    .run(device);
  const insert = database.prepare(
    `INSERT INTO certificates (anchor, serial, principal, spki_sha256, not_before, not_after, der, issued_at,
        issuer, revoked_at, reason_code)
      VALUES ('internal', ?, ?, '', 0, ?, x'', 0, ?, ?, ?)`,
  );
  database.exec('BEGIN');
  for (const { serial, notAfter, revokedAt, reason } of certificates) {
    insert.run(serial, device, notAfter, issuer, revokedAt ?? null, reason ?? 0);
  }
  database.exec('COMMIT');
}

export function revokeCertificate(
  database: DatabaseSync,
  serial: string,
  revokedAt: number,
  reason = 0,
): void {
  database
    .prepare('UPDATE certificates SET revoked_at = ?, reason_code = ? WHERE serial = ?')
    .run(revokedAt, reason, serial);
}

/** Of PEM or DER. */
export function serialOf(certificate: string | Buffer): string {
  return parseCertificate(new X509Certificate(certificate).raw).serialHex;
}
