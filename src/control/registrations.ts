/**
 * Identities under a bring-your-own trust anchor are registered when a worker first sees them. The worker's word is not
 * taken: the certificate is verified and mapped here again.
 */
import type { Clock } from '../common/base/clock.ts';
import { SallyportError } from '../common/base/errors.ts';
import { principalOfCertificate } from '../common/identity/principal-of-certificate.ts';
import type { TrustAnchor } from '../common/ipc/snapshot.ts';
import type { AuditLog } from './audit-log/audit-log.ts';
import { verifyChain } from './ca/verify-chain.ts';
import type { Registry } from './registry/registry.ts';
import type { SnapshotPublisher } from './snapshot/publisher.ts';

/** Registrations a second over all workers: each is a write to the disk. A fleet of 10,000 is in within minutes. */
const maxPerSecond = 50;

export interface RegistrationParts {
  readonly clock: Clock;
  readonly registry: Registry;
  readonly auditLog: AuditLog;
  readonly publisher: SnapshotPublisher;
  readonly anchors: () => readonly TrustAnchor[];
  readonly trustDomain: string;
}

export class Registrations {
  readonly #parts: RegistrationParts;
  #second = 0;
  #count = 0;

  constructor(parts: RegistrationParts) {
    this.#parts = parts;
  }

  /** Resolves when every worker knows the identity. @throws SallyportError when the certificate names none. */
  async register(slot: number, anchorName: string, certificate: Buffer): Promise<void> {
    this.#charge();
    const { clock, registry, auditLog, publisher, anchors, trustDomain } = this.#parts;
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
    const change = registry.observe(mapped.principal, mapping.role, anchor.name, {
      serial: facts.serialHex,
      spkiSha256: facts.spkiSha256,
      notBefore: facts.notBefore,
      notAfter: facts.notAfter,
      der: certificate,
    });
    if (change === undefined) return;
    auditLog.append({
      actor: `worker:${slot}`,
      action: 'register',
      target: mapped.principal,
      detail: { anchor: anchor.name, serial: facts.serialHex },
    });
    await publisher.publish([{ type: 'identity', entry: change.entry }]);
  }

  #charge(): void {
    const second = Math.floor(this.#parts.clock.monotonic() / 1_000);
    if (second !== this.#second) {
      this.#second = second;
      this.#count = 0;
    }
    this.#count += 1;
    if (this.#count > maxPerSecond)
      throw new SallyportError('rate', 'too many registrations a second');
  }
}
