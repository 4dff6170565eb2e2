/**
 * Identities under a bring-your-own trust anchor are registered when a worker first sees them. The worker's word is not
 * taken: the certificate is verified and mapped here again.
 */
import type { Clock } from '../common/base/clock.ts';
import { SallyportError } from '../common/base/errors.ts';
import type { PrincipalName } from '../common/base/principal.ts';
import { principalOfCertificate } from '../common/identity/principal-of-certificate.ts';
import type { IdentityEntry, TrustAnchor } from '../common/ipc/snapshot.ts';
import type { AuditLog } from './audit-log/audit-log.ts';
import { verifyChain } from './ca/verify-chain.ts';
import type { NewCertificate } from './registry/records.ts';
import type { Registry } from './registry/registry.ts';
import { additionMs } from './snapshot/publisher.ts';
import type { SnapshotPublisher } from './snapshot/publisher.ts';

/**
 * Registrations a second of one worker, so that one which lies takes nothing from the others: each is a write to the
 * disk. A fleet of 10,000 is in within minutes.
 */
const maxPerSecond = 50;
/** Bytes of a certificate in DER; a large one has 2 kB. */
const maxCertificateBytes = 16 * 1024;

export interface RegistrationParts {
  readonly clock: Clock;
  readonly registry: Registry;
  readonly auditLog: Pick<AuditLog, 'append'>;
  readonly publisher: Pick<SnapshotPublisher, 'publish'>;
  readonly anchors: () => readonly TrustAnchor[];
  readonly trustDomain: string;
}

export class Registrations {
  readonly #parts: RegistrationParts;
  /** By slot, of which there are few. */
  readonly #charged = new Map<number, { readonly second: number; count: number }>();

  constructor(parts: RegistrationParts) {
    this.#parts = parts;
  }

  /** Resolves when every worker knows the identity. @throws SallyportError when the certificate names none. */
  async register(slot: number, anchorName: string, certificate: Buffer): Promise<void> {
    this.#charge(slot);
    if (certificate.length > maxCertificateBytes)
      throw new SallyportError('invalid-certificate', 'the certificate is too large');
    const { clock, registry, anchors, trustDomain } = this.#parts;
    const now = clock.now();
    const { anchor, facts } = verifyChain(certificate, anchors(), now);
    const { mapping } = anchor;
    if (anchor.name !== anchorName || mapping.type !== 'rule' || !mapping.autoRegister) {
      throw new SallyportError(
        'forbidden',
        `${anchor.name} does not register identities by itself`,
      );
    }
    const mapped = principalOfCertificate(facts, anchor, trustDomain, now);
    if (!mapped.ok)
      throw new SallyportError(
        'invalid-certificate',
        `the certificate is refused: ${mapped.reason}`,
      );
    const { principal } = mapped;
    const holder = registry.holderOf(anchor.name, facts.serialHex);
    if (holder?.name === principal) {
      // The worker that asks has missed it, or a control that ended between the disk and the workers never said it.
      await this.#publish(registry.entry(principal));
      return;
    }
    const entry = this.#observe(slot, principal, mapping.role, anchor.name, {
      serial: facts.serialHex,
      spkiSha256: facts.spkiSha256,
      notBefore: facts.notBefore,
      notAfter: facts.notAfter,
      der: certificate,
    });
    if (entry !== undefined) await this.#publish(entry);
  }

  /** On record before it is in the registry: what cannot be put on record is tried again by the next connection. */
  #observe(
    slot: number,
    name: PrincipalName,
    role: string,
    anchor: string,
    certificate: NewCertificate,
  ): IdentityEntry | undefined {
    const { registry, auditLog } = this.#parts;
    registry.assertEnrollable(name, role, anchor, certificate.spkiSha256);
    auditLog.append({
      actor: `worker:${slot}`,
      action: 'register',
      target: name,
      detail: { anchor, serial: certificate.serial },
    });
    return registry.observe(name, role, anchor, certificate)?.entry;
  }

  async #publish(entry: IdentityEntry): Promise<void> {
    await this.#parts.publisher.publish([{ type: 'identity', entry }], additionMs);
  }

  #charge(slot: number): void {
    const second = Math.floor(this.#parts.clock.monotonic() / 1_000);
    let charged = this.#charged.get(slot);
    if (charged?.second !== second) {
      charged = { second, count: 0 };
      this.#charged.set(slot, charged);
    }
    charged.count += 1;
    if (charged.count > maxPerSecond)
      throw new SallyportError('rate', 'too many registrations a second');
  }
}
