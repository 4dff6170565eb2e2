/** A CA, a registry and the issuance over both, for tests that ask for certificates without a gateway around them. */
import { createPublicKey, generateKeyPairSync, hash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../../src/common/base/clock.ts';
import { principalName } from '../../src/common/base/principal.ts';
import type { CertificateAuthority, IssuedCertificate } from '../../src/control/ca/authority.ts';
import { ensureAuthority } from '../../src/control/ca/ensure-authority.ts';
import type { Claim, Grant, Right } from '../../src/control/enrolment/claim.ts';
import { Issuance } from '../../src/control/enrolment/issuance.ts';
import type { Manufactured, RenewalPolicy } from '../../src/control/enrolment/issuance-world.ts';
import { writeCertificationRequest } from '../../src/control/enrolment/write-request.ts';
import { Registry } from '../../src/control/registry/registry.ts';
import { MasterKey } from '../../src/control/store/master-key.ts';
import { migrations } from '../../src/control/store/migrations.ts';

export const trustDomain = 'fleet.example';
export const dayMs = 86_400_000;

/** Stands still until somebody moves it. */
export class StoppedClock implements Clock {
  wallMs = Date.now();

  now(): number {
    return this.wallMs;
  }

  monotonic(): number {
    return this.wallMs;
  }
}

/** A grant that counts. */
export class CountedGrant implements Grant {
  left: number;
  used = 0;

  constructor(uses = 1) {
    this.left = uses;
  }

  holds(): boolean {
    return this.left > 0;
  }

  use(): boolean {
    if (this.left === 0) return false;
    this.left -= 1;
    this.used += 1;
    return true;
  }
}

/** Its files are in the current directory. */
export async function authorityFor(clock: Clock): Promise<CertificateAuthority> {
  return ensureAuthority({
    masterKey: new MasterKey(Buffer.alloc(32, 1)),
    trustDomain,
    serverNames: ['localhost'],
    clock,
  });
}

export class IssuanceBench {
  readonly clock: StoppedClock;
  readonly authority: CertificateAuthority;
  readonly database = new DatabaseSync(':memory:');
  readonly registry: Registry;
  readonly issuance: Issuance;
  readonly grant = new CountedGrant();
  /** Every certificate that was signed, and every one that was put on record. */
  signed = 0;
  recorded = 0;
  /** Between the two looks at the world. */
  whileSigning: (certificate: IssuedCertificate) => void | Promise<void> = () => {};
  renewal: RenewalPolicy = { windowMs: 30 * dayMs, graceMs: 0, perDay: 5 };
  /** What a manufacturer's certificate is good for. */
  manufactured: Manufactured | undefined = { name: principalName('device', 'd1'), again: false };

  constructor(authority: CertificateAuthority, clock: StoppedClock) {
    this.clock = clock;
    this.authority = authority;
    for (const step of migrations) this.database.exec(step);
    this.registry = new Registry(this.database, clock);
    this.issuance = new Issuance({
      authority: {
        anchor: authority.anchor,
        issue: async (name, spki) => {
          const certificate = await authority.issue(name, spki);
          this.signed += 1;
          await this.whileSigning(certificate);
          return certificate;
        },
      },
      registry: this.registry,
      trustDomain,
      clock,
      renewal: () => this.renewal,
      manufactured: () => this.manufactured,
    });
  }

  /** For a certificate of `device/<id>` with this key, unless the request says otherwise. */
  async issue(claim: Claim, key: KeyObject, csr = writeCertificationRequest(claim.name, key)) {
    return this.issuance.issue(claim, csr, (certificate) => this.record(certificate));
  }

  record(certificate: IssuedCertificate): void {
    if (certificate.der.length > 0) this.recorded += 1;
  }

  /** The claim of each right for `device/d1`, with this key; one that holds when `certificate` is due for renewal. */
  claims(key: KeyObject, certificate: Buffer): Readonly<Record<Right, Claim>> {
    const { grant } = this;
    const named = { name: principalName('device', 'd1'), role: 'device' };
    const token = { right: 'token', ...named, named: true, grant } as const;
    return {
      operator: { right: 'operator', ...named },
      lab: { right: 'lab', ...named },
      invitation: {
        right: 'invitation',
        name: principalName('operator', 'd1'),
        role: 'operator',
        grant,
      },
      token,
      approval: { right: 'approval', ...named, of: token, spkiSha256: keyHash(key), grant },
      manufacturer: { right: 'manufacturer', ...named, certificate },
      renewal: { right: 'renewal', name: named.name, certificate },
    };
  }
}

export function newKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

/** SHA-256 of the SubjectPublicKeyInfo, hex. */
export function keyHash(key: KeyObject): string {
  return hash('sha256', createPublicKey(key).export({ type: 'spki', format: 'der' }), 'hex');
}
