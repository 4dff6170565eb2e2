/** Enrolment as configured, checked: what the schema cannot say. */
import type { EnrolmentConfig, ManufacturerConfig } from './config.ts';
import { accepted } from './filled-config.ts';
import type { FilledEnrolment } from './filled-config.ts';
import { pemProblem } from './pem-problem.ts';
import { durationMs, sizeBytes } from './units.ts';
import type { Path } from './yaml-source.ts';

export interface EnrolmentContext {
  readonly roles: Readonly<Record<string, unknown>>;
  /** The text of a file; undefined when it was not read, which has been told. */
  readonly file: (at: Path, file: string) => string | undefined;
  readonly fail: (at: Path, message: string) => void;
}

export function parseEnrolment(
  written: FilledEnrolment,
  context: EnrolmentContext,
): EnrolmentConfig {
  const { approval, requests, tokens, tokenFailures, renewalDays, graceDays, renewalsPerDay } =
    written;
  return {
    csrBytes: accepted(sizeBytes(written.csrBytes)),
    keys: written.keys,
    approval,
    approvalRetryMs: accepted(durationMs(written.approvalRetry)),
    requests,
    requestsKeptMs: accepted(durationMs(written.requestsKept)),
    tokens,
    tokenFailures,
    renewalDays,
    graceDays,
    expiryCheckMs: accepted(durationMs(written.expiryCheck)),
    renewalsPerDay,
    manufacturers: parseManufacturers(written, context),
  };
}

function parseManufacturers(
  { manufacturers }: FilledEnrolment,
  { roles, file, fail }: EnrolmentContext,
): ManufacturerConfig[] {
  const seen = new Set(['internal']);
  return manufacturers.map((manufacturer, i) => {
    const at = ['enrolment', 'manufacturers', i];
    const { name, role } = manufacturer;
    if (seen.has(name)) fail([...at, 'name'], `"${name}" is already taken`);
    seen.add(name);
    if (!Object.hasOwn(roles, role)) fail([...at, 'role'], 'is not a role: add it under roles');
    const pem = file([...at, 'file'], manufacturer.file) ?? '';
    const problem = pem === '' ? undefined : pemProblem(pem);
    if (problem !== undefined) fail([...at, 'file'], problem);
    return { ...manufacturer, pem };
  });
}
