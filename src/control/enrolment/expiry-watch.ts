/**
 * Looks after certificates that come to their end: operators are told 30, 7 and 1 days before and when it is too late,
 * and a device is told by a command when it may renew, and again when time runs out. What counts is the certificate of
 * an identity that ends last: whoever has renewed is left alone.
 */
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../../common/base/clock.ts';
import { errorCodeOf, messageOf } from '../../common/base/errors.ts';
import type { ErrorCode } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import { principalParts } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { LastCertificate, Registry } from '../registry/registry.ts';
import { integer } from '../store/row.ts';

const dayMs = 86_400_000;
/** Its certificates are the ones that can be renewed here. */
const ownAnchor = 'internal';
/** Days before the end at which something is said; 0: it has come. */
const steps = [0, 1, 7, 30] as const;
type Step = (typeof steps)[number];
/** Says that nobody could be asked, and nothing about the device. */
const noAnswer: ReadonlySet<ErrorCode> = new Set(['unavailable', 'timeout', 'busy']);
/** Rows that are read before others have their turn: a few milliseconds. */
const pageSize = 2_000;

export interface ExpiryWatchParts {
  readonly database: DatabaseSync;
  readonly clock: Clock;
  readonly registry: Pick<Registry, 'lastCertificates'>;
  /** From how long before its end a certificate may be renewed. */
  readonly renewalWindowMs: () => number;
  /** Puts the notice into the device's mailbox. Rejects when that cannot be done now; it is tried again. */
  readonly remind: (device: PrincipalName, certificate: LastCertificate) => Promise<void>;
  readonly logger: Logger;
}

/** How many identities have a last certificate that ends within so many days; `0` = has ended. */
export type Expiring = Readonly<Record<Step, number>>;

interface Told {
  readonly notAfter: number;
  /** The step that operators were told; undefined = none yet. */
  readonly step: number | undefined;
  /** The step at which the device was told. */
  readonly reminded: number | undefined;
}

export class ExpiryWatch {
  readonly #parts: ExpiryWatchParts;
  readonly #find: ReturnType<DatabaseSync['prepare']>;
  readonly #save: ReturnType<DatabaseSync['prepare']>;
  #expiring: Expiring = none();
  #looking = false;
  /** No worker took a notice in this look: each more would wait in vain for seconds. */
  #unanswered = false;
  #closed = false;

  constructor(parts: ExpiryWatchParts) {
    this.#parts = parts;
    this.#find = parts.database.prepare('SELECT * FROM expiry_notices WHERE principal = ?');
    this.#save = parts.database.prepare(
      `INSERT INTO expiry_notices (principal, not_after, step, reminded) VALUES (?, ?, ?, ?)
       ON CONFLICT (principal) DO UPDATE SET not_after = excluded.not_after,
         step = excluded.step, reminded = excluded.reminded`,
    );
  }

  /** Of the last look. */
  get expiring(): Expiring {
    return this.#expiring;
  }

  close(): void {
    this.#closed = true;
  }

  /** One look at all identities. Never rejects; a look that begins while another is under way is none. */
  async look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    this.#unanswered = false;
    try {
      await this.#lookAtAll();
    } catch (error) {
      this.#parts.logger.error({ err: messageOf(error) }, 'certificates not looked at');
    } finally {
      this.#looking = false;
    }
  }

  async #lookAtAll(): Promise<void> {
    const { registry } = this.#parts;
    const counts = none();
    let after = '';
    while (!this.#closed) {
      const page = registry.lastCertificates(after, pageSize);
      for (const certificate of page) {
        this.#count(counts, certificate);
        await this.#tell(certificate);
      }
      const last = page.at(-1);
      if (last === undefined || page.length < pageSize) break;
      after = last.principal;
      await new Promise(setImmediate);
    }
    this.#expiring = counts;
  }

  #count(counts: Record<Step, number>, { notAfter }: LastCertificate): void {
    const left = notAfter - this.#parts.clock.now();
    for (const step of steps) if (left <= step * dayMs) counts[step] += 1;
  }

  async #tell(certificate: LastCertificate): Promise<void> {
    const { clock, logger } = this.#parts;
    const step = stepOf(certificate, clock.now());
    const isDue = this.#isRenewalDue(certificate);
    if (step === undefined && !isDue) return;
    const { principal, serial, notAfter } = certificate;
    const told = this.#toldOf(certificate);
    if (step !== undefined && step !== told.step) {
      logger.warn(
        { principal, serial, notAfter: new Date(notAfter).toISOString(), days: step },
        step === 0 ? 'a certificate has expired' : 'a certificate expires soon',
      );
    }
    // At the beginning of its window, and again with each step.
    const turn = step ?? steps.at(-1);
    const reminded = isDue && turn !== told.reminded && (await this.#remind(certificate));
    const now: Told = {
      notAfter,
      step: step ?? told.step,
      reminded: reminded ? turn : told.reminded,
    };
    if (now.step !== told.step || now.reminded !== told.reminded) {
      this.#save.run(principal, notAfter, now.step ?? null, now.reminded ?? null);
    }
  }

  /**
   * Only a device is told, by the command `renew`, while its certificate can still be used to come and get it; one with
   * the certificate of somebody else's CA would find nothing here. Not before half of its life is over, or one whose life is shorter than the window would be told as soon as it has renewed.
   */
  #isRenewalDue({ principal, anchor, notBefore, notAfter }: LastCertificate): boolean {
    if (anchor !== ownAnchor) return false;
    const { clock, renewalWindowMs } = this.#parts;
    const now = clock.now();
    const from = Math.max(notAfter - renewalWindowMs(), (notBefore + notAfter) / 2);
    return principalParts(principal).kind === 'device' && now >= from && now <= notAfter;
  }

  async #remind(certificate: LastCertificate): Promise<boolean> {
    const { remind, logger } = this.#parts;
    if (this.#unanswered) return false;
    try {
      await remind(certificate.principal, certificate);
      return true;
    } catch (error) {
      this.#unanswered = noAnswer.has(errorCodeOf(error));
      const fields = { principal: certificate.principal, err: messageOf(error) };
      logger.warn(fields, 'a device could not be told to renew its certificate; tried again later');
      return false;
    }
  }

  /** What was said of an earlier certificate says nothing of this one. */
  #toldOf({ principal, notAfter }: LastCertificate): Told {
    const row = this.#find.get(principal);
    if (row === undefined || integer(row, 'not_after') !== notAfter)
      return { notAfter, step: undefined, reminded: undefined };
    return {
      notAfter,
      step: row['step'] === null ? undefined : integer(row, 'step'),
      reminded: row['reminded'] === null ? undefined : integer(row, 'reminded'),
    };
  }
}

/** Steps that a short-lived certificate is born beyond are none. */
function stepOf({ notBefore, notAfter }: LastCertificate, now: number): Step | undefined {
  const left = notAfter - now;
  const life = notAfter - notBefore;
  return steps.find((step) => left <= step * dayMs && (step === 0 || step * dayMs <= life / 2));
}

function none(): Record<Step, number> {
  return { 0: 0, 1: 0, 7: 0, 30: 0 };
}
