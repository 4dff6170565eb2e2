/**
 * Devices that workers found to be used from two addresses: put on record, and quarantined where that is the rule. What a
 * worker says is a claim: it is bounded in number, it can do no more to a device than the rule says, and a worker that
 * lies can quarantine a handful of devices an hour and no fleet.
 */
import { isIP } from 'node:net';
import type { Clock } from '../../common/base/clock.ts';
import { messageOf } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import { parsePrincipalName } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { ClonesConfig } from '../../common/config/config.ts';
import type { AuditLog } from '../audit-log/audit-log.ts';
import type { Registry } from '../registry/registry.ts';

/** Reports of one worker: each is a line of the audit log and a write to the registry. */
const maxPerMinute = 60;
const minuteMs = 60_000;
const hourMs = 3_600_000;

export interface CloneReportParts {
  readonly clock: Clock;
  readonly registry: Pick<Registry, 'get' | 'cloneOf' | 'markClone'>;
  readonly auditLog: Pick<AuditLog, 'append'>;
  readonly rules: () => ClonesConfig;
  /** Resolves when every worker knows. */
  readonly quarantine: (actor: string, name: PrincipalName, reason: string) => Promise<void>;
  readonly logger: Logger;
}

interface Report {
  readonly name: PrincipalName;
  readonly addresses: readonly [string, string];
  /** When it was seen at each, ISO 8601; not later than now. */
  readonly times: readonly [string, string];
}

/** How many there were in the time that is running. */
interface Count {
  readonly since: number;
  count: number;
}

export class CloneReports {
  readonly #parts: CloneReportParts;
  /** By slot, of which there are few. */
  readonly #reports = new Map<number, Count>();
  #quarantines: Count = { since: Number.NEGATIVE_INFINITY, count: 0 };

  constructor(parts: CloneReportParts) {
    this.#parts = parts;
  }

  /** Never throws: nobody waits for the answer. */
  async accept(slot: number, message: Readonly<Record<string, unknown>>): Promise<void> {
    const { clock, logger } = this.#parts;
    const report = parseReport(message, clock.now());
    if (report === undefined) return;
    try {
      await this.#accept(slot, report);
    } catch (error) {
      const fields = { slot, principal: report.name, err: messageOf(error) };
      logger.error(fields, 'a suspected clone was not dealt with');
    }
  }

  async #accept(slot: number, { name, addresses, times }: Report): Promise<void> {
    const { clock, registry, auditLog, rules, quarantine } = this.#parts;
    const { rule, windowMs } = rules();
    const known = registry.get(name);
    const before = registry.cloneOf(name);
    if (known === undefined) return;
    if (before !== undefined && clock.now() - before.at < windowMs) return;
    if (!this.#charge(slot)) return;
    const actor = `worker:${slot}`;
    auditLog.append({
      actor,
      action: 'clone',
      target: name,
      detail: { rule, addresses: [...addresses], seenAt: [...times] },
    });
    registry.markClone(name, addresses);
    if (rule !== 'quarantine' || known.standing !== 'active') return;
    if (!this.#mayQuarantine(name)) return;
    await quarantine(actor, name, `used from ${addresses.join(' and ')}`);
  }

  #charge(slot: number): boolean {
    const now = this.#parts.clock.monotonic();
    const running = this.#reports.get(slot);
    if (running === undefined || now - running.since >= minuteMs) {
      this.#reports.set(slot, { since: now, count: 1 });
      return true;
    }
    running.count += 1;
    if (running.count === maxPerMinute + 1) {
      this.#parts.logger.error({ slot }, 'a worker reports more clones than are put on record');
    }
    return running.count <= maxPerMinute;
  }

  #mayQuarantine(name: PrincipalName): boolean {
    const { clock, rules, logger } = this.#parts;
    const now = clock.monotonic();
    if (now - this.#quarantines.since >= hourMs) this.#quarantines = { since: now, count: 0 };
    if (this.#quarantines.count >= rules().quarantinesPerHour) {
      const setting = 'anomaly.clones.quarantinesPerHour';
      logger.error({ principal: name, setting }, 'a suspected clone was not quarantined');
      return false;
    }
    this.#quarantines.count += 1;
    return true;
  }
}

/** @returns undefined for what has not the form of a report about a device. */
function parseReport(
  message: Readonly<Record<string, unknown>>,
  nowMs: number,
): Report | undefined {
  const { principal, addresses } = message;
  const parsed = typeof principal === 'string' ? parsePrincipalName(principal) : undefined;
  if (parsed?.kind !== 'device' || !Array.isArray(addresses) || addresses.length !== 2)
    return undefined;
  const [here, before] = (addresses as readonly unknown[]).map((each) =>
    parseSighting(each, nowMs),
  );
  if (here === undefined || before === undefined) return undefined;
  return {
    name: parsed.name,
    addresses: [here.address, before.address],
    times: [here.at, before.at],
  };
}

function parseSighting(
  value: unknown,
  nowMs: number,
): { readonly address: string; readonly at: string } | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { address, at }: Partial<Record<string, unknown>> = { ...value };
  // The name of an interface after `%` is free text: it is not looked at, nor kept.
  const ip = typeof address === 'string' ? address.slice(0, 64).split('%', 1)[0] : undefined;
  if (ip === undefined || isIP(ip) === 0) return undefined;
  if (typeof at !== 'number' || !Number.isSafeInteger(at) || at < 0) return undefined;
  return { address: ip, at: new Date(Math.min(at, nowMs)).toISOString() };
}
