/**
 * Certificates that a device was born with (IDevID, IEEE 802.1AR): which manufacturer vouches for one, and which device
 * it is. A manufacturer names new devices only. One that exists is brought back by the very key that it enrolled with,
 * so that no manufacturer becomes a device that somebody else has registered.
 */
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../../common/base/clock.ts';
import { errorCodeOf, SallyportError } from '../../common/base/errors.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { ManufacturerConfig } from '../../common/config/config.ts';
import type { CertificateFacts } from '../../common/identity/certificate.ts';
import { principalOfCertificate } from '../../common/identity/principal-of-certificate.ts';
import type { TrustAnchor } from '../../common/ipc/snapshot.ts';
import { verifyChain } from '../ca/verify-chain.ts';
import { text } from '../store/row.ts';
import type { Manufactured } from './issuance-world.ts';

export interface ManufacturedDevice extends Manufactured {
  readonly manufacturer: string;
  readonly role: string;
  /** SHA-256 of the key of the manufacturer's certificate, hex. */
  readonly spkiSha256: string;
}

export interface ManufacturerParts {
  readonly database: DatabaseSync;
  readonly clock: Clock;
  readonly trustDomain: string;
  readonly manufacturers: () => readonly ManufacturerConfig[];
}

export class Manufacturers {
  readonly #parts: ManufacturerParts;

  constructor(parts: ManufacturerParts) {
    this.#parts = parts;
  }

  /**
   * The device that this certificate (DER) names; undefined when no manufacturer has signed it.
   *
   * @throws SallyportError `unauthenticated` when one has and it is late or names nobody.
   */
  find(certificate: Buffer): ManufacturedDevice | undefined {
    const { clock, trustDomain, manufacturers } = this.#parts;
    const now = clock.now();
    for (const manufacturer of manufacturers()) {
      const anchor = anchorOf(manufacturer);
      // One after the other: a file that holds no certificate is its own manufacturer's loss alone.
      const facts = factsIfSignedBy(anchor, certificate, now);
      if (facts === undefined) continue;
      const mapped = principalOfCertificate(facts, anchor, trustDomain, now);
      if (!mapped.ok) {
        throw new SallyportError(
          'unauthenticated',
          `the certificate of the manufacturer ${manufacturer.name} is refused: ${mapped.reason}`,
        );
      }
      const { spkiSha256 } = facts;
      return {
        manufacturer: manufacturer.name,
        name: mapped.principal,
        role: manufacturer.role,
        spkiSha256,
        again: this.#keyOf(mapped.principal) === spkiSha256,
      };
    }
    return undefined;
  }

  /** It has enrolled with this certificate. The device is registered. */
  remember({ name, manufacturer, spkiSha256 }: ManufacturedDevice): void {
    this.#parts.database
      .prepare(
        `INSERT INTO manufactured (principal, manufacturer, spki_sha256, at) VALUES (?, ?, ?, ?)
         ON CONFLICT (principal) DO NOTHING`,
      )
      .run(name, manufacturer, spkiSha256, this.#parts.clock.now());
  }

  #keyOf(name: PrincipalName): string | undefined {
    const row = this.#parts.database
      .prepare('SELECT spki_sha256 FROM manufactured WHERE principal = ?')
      .get(name);
    return row === undefined ? undefined : text(row, 'spki_sha256');
  }
}

function factsIfSignedBy(
  anchor: TrustAnchor,
  certificate: Buffer,
  nowMs: number,
): CertificateFacts | undefined {
  try {
    return verifyChain(certificate, [anchor], nowMs).facts;
  } catch (thrown) {
    if (errorCodeOf(thrown) === 'invalid-certificate') return undefined;
    throw thrown;
  }
}

function anchorOf({ name, pem, role, from, prefix }: ManufacturerConfig): TrustAnchor {
  const mapping = {
    type: 'rule',
    kind: 'device',
    role,
    from,
    prefix,
    autoRegister: false,
  } as const;
  return { name, certificates: [pem], mapping };
}
