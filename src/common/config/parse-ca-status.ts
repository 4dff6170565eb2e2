/** What is configured of `ca.statusUrl`, `ca.crl` and `ca.ocsp`, in numbers. */
import type { CrlConfig, ListenerConfig, OcspConfig } from './config.ts';
import { accepted } from './filled-config.ts';
import type { FilledCaStatus } from './filled-config.ts';
import { durationMs } from './units.ts';

const minuteMs = 60_000;
/** Clocks differ by minutes, and answers are looked after once a minute. */
const leastOcspMs = 5 * minuteMs;

/** @param fail told what is wrong with a key. */
export function parseCrl(
  { crl }: FilledCaStatus,
  fail: (key: string, message: string) => void,
): CrlConfig {
  const intervalMs = accepted(durationMs(crl.interval));
  const validityMs = accepted(durationMs(crl.validity));
  const deltaValidityMs = accepted(durationMs(crl.deltaValidity));
  // One that cannot be signed in time must not be missing at once.
  for (const [key, ms] of [
    ['validity', validityMs],
    ['deltaValidity', deltaValidityMs],
  ] as const) {
    if (ms < 2 * intervalMs) fail(key, 'is less than twice ca.crl.interval');
  }
  if (intervalMs < minuteMs) fail('interval', 'is less than 1m');
  return { intervalMs, validityMs, deltaValidityMs };
}

/** As `parseCrl`. */
export function parseOcsp(
  { ocsp }: FilledCaStatus,
  fail: (key: string, message: string) => void,
): OcspConfig {
  const { keptAnswers, signaturesPerSecond } = ocsp;
  const validityMs = accepted(durationMs(ocsp.validity));
  const stapleValidityMs = accepted(durationMs(ocsp.stapleValidity));
  for (const [key, ms] of [
    ['validity', validityMs],
    ['stapleValidity', stapleValidityMs],
  ] as const) {
    if (ms < leastOcspMs) fail(key, 'is less than 5m');
  }
  return { validityMs, stapleValidityMs, keptAnswers, signaturesPerSecond };
}

/** Base URL of the status listener for others, without a slash at its end; undefined = certificates name none. */
export function statusUrlOf(
  { statusUrl }: FilledCaStatus,
  status: ListenerConfig | false,
  serverNames: readonly string[],
): string | undefined {
  if (statusUrl !== undefined) return statusUrl === false ? undefined : statusUrl;
  const name = serverNames.find(isFoundByOthers);
  if (status === false || status.port === 0 || name === undefined) return undefined;
  const host = name.includes(':') ? `[${name}]` : name;
  return status.port === 80 ? `http://${host}` : `http://${host}:${status.port}`;
}

function isFoundByOthers(name: string): boolean {
  return !/^(?:localhost|127\..*|::1|\*\..*)$/u.test(name);
}
