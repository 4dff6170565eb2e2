/**
 * What became of requests to enrol: counted, and put on record. Whoever is in the network decides how many are refused,
 * so there is a bound to the lines that they can write; how many were left out is in the next line.
 */
import type { Clock } from '../../common/base/clock.ts';
import { messageOf } from '../../common/base/errors.ts';
import type { ErrorCode } from '../../common/base/errors.ts';
import { LogBudget } from '../../common/base/log-budget.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { AuditLog } from '../audit-log/audit-log.ts';

/** Of the audit log, each of which waits for the disk; and of the log. */
const auditLinesPerSecond = 2;
const logLinesPerSecond = 10;

/** What no device has done. */
const ownFaults: ReadonlySet<ErrorCode> = new Set([
  'io',
  'no-key',
  'tampered',
  'timeout',
  'unavailable',
  'internal',
]);

export type EnrolmentOutcome = 'issued' | 'pending' | ErrorCode;

export interface Refused {
  /** `token:<number>`, `manufacturer:<name>`, a principal; `token` and `certificate` that are none; `anonymous`. */
  readonly actor: string;
  /** The identity that was asked for, when that is known. */
  readonly target: string;
  readonly operation: string;
  /** As the worker told it. */
  readonly source: string;
  readonly worker: number;
  readonly code: ErrorCode;
  readonly message: string;
}

export interface TallyParts {
  readonly clock: Clock;
  readonly auditLog: Pick<AuditLog, 'append'>;
  readonly logger: Logger;
}

export class EnrolmentTally {
  readonly #parts: TallyParts;
  readonly #counts = new Map<EnrolmentOutcome, number>();
  readonly #auditBudget: LogBudget;
  readonly #logBudget: LogBudget;

  constructor(parts: TallyParts) {
    this.#parts = parts;
    this.#auditBudget = new LogBudget(auditLinesPerSecond, parts.clock);
    this.#logBudget = new LogBudget(logLinesPerSecond, parts.clock);
  }

  /** Since control started. */
  get counts(): ReadonlyMap<EnrolmentOutcome, number> {
    return this.#counts;
  }

  count(outcome: EnrolmentOutcome): void {
    this.#counts.set(outcome, (this.#counts.get(outcome) ?? 0) + 1);
  }

  /** Never throws: a refusal stands, on record or not. */
  refused(refusal: Refused): void {
    const { logger } = this.#parts;
    this.count(refusal.code);
    if (this.#logBudget.take()) {
      const fields = { ...refusal, ...this.#logBudget.suppressed() };
      if (ownFaults.has(refusal.code)) logger.error(fields, 'enrolment failed');
      else logger.info(fields, 'enrolment refused');
    }
    // A client that has not been asked for its token yet is how HTTP works.
    if (refusal.actor === 'anonymous' && refusal.code === 'unauthenticated') return;
    if (!this.#auditBudget.take()) return;
    const { actor, target, ...detail } = refusal;
    try {
      this.#parts.auditLog.append({
        actor,
        action: 'enrolment-refused',
        target,
        detail: { ...detail, ...this.#auditBudget.suppressed() },
      });
    } catch (error) {
      logger.error({ ...refusal, err: messageOf(error) }, 'a refused enrolment is not on record');
    }
  }
}
