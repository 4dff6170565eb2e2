/**
 * OCSP answers about the gateway's own server certificates, for handshakes that ask for one (RFC 6066 section 8). They are
 * renewed in time; one that cannot be renewed is served on, because none would be worse.
 */
import { hash } from 'node:crypto';
import type { Clock } from '../../../common/base/clock.ts';
import { messageOf } from '../../../common/base/errors.ts';
import type { Logger } from '../../../common/base/logger.ts';
import { parseCertificate } from '../../../common/identity/certificate.ts';
import type { Staple } from '../../../common/ipc/snapshot.ts';
import type { Revocations } from '../../registry/revocations.ts';
import type { StatusIssuer } from '../issuer.ts';
import type { OcspResponder } from './responder.ts';

export interface StaplesParts {
  readonly clock: Clock;
  readonly issuers: () => readonly StatusIssuer[];
  /** DER of every server certificate that is or is about to be served. */
  readonly certificates: () => readonly Buffer[];
  /** DER of others that the gateway has issued to itself: nobody staples them, and OCSP knows them. */
  readonly others: () => readonly Buffer[];
  readonly validityMs: () => number;
  readonly responder: Pick<OcspResponder, 'staple'>;
  readonly revocations: Pick<Revocations, 'rememberOwn'>;
  /** The workers are to have these. */
  readonly publish: (staples: readonly Staple[]) => void;
  readonly logger: Pick<Logger, 'error'>;
}

interface Held {
  readonly staple: Staple;
  readonly thisUpdate: number;
  readonly renewAt: number;
}

export class Staples {
  readonly #parts: StaplesParts;
  #held: readonly Held[] = [];
  #checking: Promise<void> | undefined;

  constructor(parts: StaplesParts) {
    this.#parts = parts;
  }

  get current(): readonly Staple[] {
    return this.#held.map(({ staple }) => staple);
  }

  /**
   * Renews what is due and publishes what changed: to be called at the start, again and again, and when a server
   * certificate has changed. Never rejects.
   */
  check(): Promise<void> {
    const next = (this.#checking ?? Promise.resolve()).then(() => this.#check());
    this.#checking = next;
    return next;
  }

  async #check(): Promise<void> {
    try {
      await this.#renew();
    } catch (error) {
      const fields = { err: messageOf(error) };
      this.#parts.logger.error(fields, 'OCSP staples not looked after; the last ones stay');
    }
  }

  async #renew(): Promise<void> {
    const { certificates, others, publish } = this.#parts;
    this.#remember([...certificates(), ...others()]);
    const found = await Promise.all(certificates().map((der) => this.#heldFor(der)));
    const held = found.filter((one) => one !== undefined);
    const isSame =
      held.length === this.#held.length && held.every((one, i) => one === this.#held[i]);
    if (isSame) return;
    this.#held = held;
    publish(this.current);
  }

  #remember(certificates: readonly Buffer[]): void {
    const { clock, revocations } = this.#parts;
    const own = certificates.flatMap((der) => {
      const { serialHex, authorityKeyId, notAfter } = parseCertificate(der);
      return authorityKeyId === undefined
        ? []
        : [{ issuer: authorityKeyId, serial: serialHex, notAfter }];
    });
    revocations.rememberOwn(own, clock.now());
  }

  async #heldFor(der: Buffer): Promise<Held | undefined> {
    const { clock, responder, validityMs, logger } = this.#parts;
    const certificate = hash('sha256', der, 'hex');
    const before = this.#held.find(({ staple }) => staple.certificate === certificate);
    const now = clock.now();
    // Of a clock that was ahead, nobody accepts it.
    if (before !== undefined && now >= before.thisUpdate && now < before.renewAt) return before;
    const { serialHex, authorityKeyId } = parseCertificate(der);
    // One whose CA is gone has nobody who can speak of it.
    const issuer = this.#parts.issuers().find(({ id }) => id === authorityKeyId);
    if (issuer === undefined) return undefined;
    try {
      const answer = await responder.staple(issuer, serialHex, validityMs());
      const { thisUpdate, nextUpdate, renewAt } = answer;
      const response = answer.der.toString('base64');
      return { staple: { certificate, response, nextUpdate }, thisUpdate, renewAt };
    } catch (error) {
      logger.error({ err: messageOf(error) }, 'OCSP staple not renewed; the last one stays');
      return before;
    }
  }
}
