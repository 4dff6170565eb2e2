/** The parts of enrolment over the network, fitted together. */
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../common/base/clock.ts';
import type { Logger } from '../common/base/logger.ts';
import type { EnrolmentConfig } from '../common/config/config.ts';
import type { AuditLog } from './audit-log/audit-log.ts';
import type { CertificateAuthority } from './ca/authority.ts';
import { EnrolmentTally } from './enrolment/enrolment-tally.ts';
import { EstDesk } from './enrolment/est-desk.ts';
import { GuessBrake } from './enrolment/guess-brake.ts';
import { Issuance } from './enrolment/issuance.ts';
import { Manufacturers } from './enrolment/manufacturers.ts';
import { PendingRequests } from './enrolment/pending-requests.ts';
import { EnrolmentTokens } from './enrolment/tokens.ts';
import type { RegistryChange } from './registry/records.ts';
import type { Registry } from './registry/registry.ts';
import type { CallHandler } from './worker-calls.ts';

const dayMs = 86_400_000;
/** Calls of one worker: as many as control can sign beside its other work, and no more than it can hold. */
const callsPerSecond = 100;
const callsAtOnce = 32;
/**
 * A worker that is late with what is new has longer than the one that waits here for the answer: a certificate that
 * comes after its connection has gone is lost, and the token with it. Whom a worker does not know yet comes again.
 */
const toldMs = 5_000;

export interface NetworkEnrolmentParts {
  readonly database: DatabaseSync;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly trustDomain: string;
  readonly settings: () => EnrolmentConfig;
  readonly authority: CertificateAuthority;
  readonly registry: Registry;
  readonly auditLog: Pick<AuditLog, 'append'>;
  readonly publish: (change: RegistryChange) => Promise<void>;
  readonly later: (ms: number, action: () => void) => () => void;
}

export interface NetworkEnrolment {
  readonly issuance: Issuance;
  readonly tokens: EnrolmentTokens;
  readonly pending: PendingRequests;
  readonly tally: EnrolmentTally;
  /** Answers `EstCall`. */
  readonly est: CallHandler;
}

export function createNetworkEnrolment(parts: NetworkEnrolmentParts): NetworkEnrolment {
  const { database, clock, logger, trustDomain, settings, authority, registry, auditLog } = parts;
  const tokens = new EnrolmentTokens(database, clock, () => settings().tokens);
  const pending = new PendingRequests(database, clock, () => {
    const { requests, requestsKeptMs: keptMs } = settings();
    return { requests, keptMs };
  });
  const manufacturers = new Manufacturers({
    database,
    clock,
    trustDomain,
    manufacturers: () => settings().manufacturers,
  });
  const issuance = new Issuance({
    authority,
    registry,
    trustDomain,
    clock,
    renewal: () => ({
      windowMs: settings().renewalDays * dayMs,
      graceMs: settings().graceDays * dayMs,
      perDay: settings().renewalsPerDay,
    }),
    keys: () => settings().keys,
    manufactured: (certificate) => manufacturers.find(certificate),
  });
  const tally = new EnrolmentTally({ clock, auditLog, logger });
  const desk = new EstDesk({
    clock,
    trustDomain,
    settings,
    authority,
    registry,
    issuance,
    tokens,
    pending,
    manufacturers,
    brake: new GuessBrake(clock, () => settings().tokenFailures),
    tally,
    auditLog,
    publish: (change) => within(toldMs, parts.later, parts.publish(change)),
  });
  const est: CallHandler = {
    perSecond: callsPerSecond,
    atOnce: callsAtOnce,
    answer: (slot, call) => desk.answer(slot, call),
  };
  return { issuance, tokens, pending, tally, est };
}

/** As `work`, or when `ms` have passed before it is done. */
async function within(
  ms: number,
  later: NetworkEnrolmentParts['later'],
  work: Promise<void>,
): Promise<void> {
  const over = Promise.withResolvers<void>();
  const cancel = later(ms, over.resolve);
  await Promise.race([work, over.promise]).finally(cancel);
}
