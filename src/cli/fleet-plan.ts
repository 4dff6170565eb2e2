/** What `simulate` was asked for, checked before anything is enrolled. */
import { SallyportError } from '../common/base/errors.ts';
import { principalName, printable } from '../common/base/principal.ts';
import { protocols as knownProtocols } from '../device/link.ts';
import type { Protocol } from '../device/link.ts';
import { intervalOfRate } from '../device/message-rate.ts';

/** What one process of Node can do honestly: with more, the latencies would be its own. */
export const maxDevices = 5_000;
/** 23 days, which a timer of Node can wait. */
const maxSeconds = 2_000_000;
const maxMessages = 1_000_000_000;

/** As commander gives them. */
export interface FleetPlanOptions {
  readonly devices: string;
  readonly rate: string;
  readonly protocol?: string;
  readonly seconds?: string;
  readonly messages?: string;
  readonly prefix: string;
  readonly host: string;
}

export interface FleetPlan {
  readonly ids: readonly string[];
  readonly intervalMs: number;
  /** Undefined: all that the gateway listens on. */
  readonly protocols: readonly Protocol[] | undefined;
  readonly seconds: number | undefined;
  readonly messages: number | undefined;
  readonly host: string;
}

/** @throws SallyportError `usage`. */
export function fleetPlan(options: FleetPlanOptions): FleetPlan {
  const { rate, prefix, host, seconds, messages } = options;
  const intervalMs = intervalOfRate(rate);
  if (intervalMs === undefined) {
    throw new SallyportError('usage', `"${printable(rate)}" is no rate`, {
      hint: 'write it like 1/5s, 2/s or 10/m; at most 100 a second, at least one a day',
    });
  }
  const devices = wholeNumber('--devices', options.devices, maxDevices);
  return {
    ids: idsOf(prefix, devices),
    intervalMs,
    protocols: protocolsOf(options.protocol),
    seconds: seconds === undefined ? undefined : wholeNumber('--seconds', seconds, maxSeconds),
    messages: messages === undefined ? undefined : wholeNumber('--messages', messages, maxMessages),
    host,
  };
}

function idsOf(prefix: string, count: number): string[] {
  const ids = Array.from({ length: count }, (_, at) => prefix + String(at + 1).padStart(4, '0'));
  for (const id of ids) principalName('device', id);
  return ids;
}

function protocolsOf(list: string | undefined): Protocol[] | undefined {
  if (list === undefined) return undefined;
  const found = list.split(',').map((name) => {
    const protocol = knownProtocols.find((known) => known === name.trim());
    if (protocol !== undefined) return protocol;
    throw new SallyportError('usage', `"${printable(name)}" is no protocol`, {
      hint: `use ${knownProtocols.join(' or ')}, or both with a comma between them`,
    });
  });
  return [...new Set(found)];
}

function wholeNumber(name: string, text: string, most: number): number {
  const number = Number(text);
  if (/^\d{1,10}$/.test(text) && number >= 1 && number <= most) return number;
  throw new SallyportError(
    'usage',
    `${name} ${printable(text)} is not a number from 1 to ${most}`,
    name === '--devices'
      ? { hint: 'more devices: several processes, each with its own --prefix' }
      : {},
  );
}
