/** The limits of mosquitto in the units of Sallyport. */
import { limits as schema } from '../../common/config/limits-schema.ts';
import { durationMs, sizeBytes, textProblem } from '../../common/config/units.ts';

/** `value`: for `limits`. `unlimited`: mosquitto has none, so the default stays. */
export type LimitResult =
  | { readonly key: string; readonly value: string | number; readonly narrower?: string }
  | { readonly unlimited: string }
  | { readonly problem: string };

interface Known {
  readonly key: string;
  readonly as: 'count' | 'bytes' | 'seconds' | 'days';
  /** What 0 means when it is not a bound of 0. */
  readonly zeroIsUnlimited: boolean;
}

const known: Readonly<Record<string, Known>> = {
  max_inflight_messages: { key: 'receiveMaximum', as: 'count', zeroIsUnlimited: true },
  max_keepalive: { key: 'keepAlive', as: 'seconds', zeroIsUnlimited: true },
  max_packet_size: { key: 'packetBytes', as: 'bytes', zeroIsUnlimited: true },
  max_queued_bytes: { key: 'queuedBytes', as: 'bytes', zeroIsUnlimited: true },
  max_queued_messages: { key: 'queuedMessages', as: 'count', zeroIsUnlimited: true },
  max_topic_alias: { key: 'topicAliases', as: 'count', zeroIsUnlimited: false },
  message_size_limit: { key: 'payloadBytes', as: 'bytes', zeroIsUnlimited: true },
  persistent_client_expiration: { key: 'sessionExpiry', as: 'days', zeroIsUnlimited: false },
};

const hours: Readonly<Record<string, number>> = { h: 1, d: 24, w: 168, m: 720, y: 8_760 };

export function isLimit(name: string): boolean {
  return Object.hasOwn(known, name);
}

/** `name` MUST be a limit. */
export function limitOf(name: string, text: string): LimitResult {
  const { key, as, zeroIsUnlimited } = known[name] ?? {
    key: '',
    as: 'count',
    zeroIsUnlimited: true,
  };
  if (as === 'days') return expiry(key, text);
  if (!/^\d{1,10}$/u.test(text)) return { problem: 'it is no whole number' };
  const amount = Number(text);
  if (amount === 0 && zeroIsUnlimited) return { unlimited: key };
  return bounded(key, as === 'count' ? amount : `${amount}${as === 'bytes' ? 'B' : 's'}`);
}

/** The schema says what is possible; beyond it the most that is, which is less than mosquitto allows. */
function bounded(key: string, value: string | number): LimitResult {
  const node = schema[key];
  if (node === undefined) return { problem: `there is no limits.${key}` };
  if (typeof value === 'string') {
    const problem = node.kind === undefined ? undefined : textProblem(node.kind, value);
    return problem === undefined ? { key, value } : { problem: `the value ${problem}` };
  }
  const { minimum = 0, maximum = value } = node;
  if (value < minimum) return { problem: `it is less than ${minimum}` };
  return value > maximum
    ? { key, value: maximum, narrower: `limits.${key} is at most ${maximum}` }
    : { key, value };
}

/** `2m` is two months, as mosquitto counts: of 30 days, and years of 365. */
function expiry(key: string, text: string): LimitResult {
  const [, amount, unit = ''] = /^(\d{1,6})([hdwmy])$/u.exec(text) ?? [];
  const factor = hours[unit];
  if (amount === undefined || factor === undefined) return { problem: 'it is no duration' };
  const value = `${Number(amount) * factor}h`;
  if (durationMs(value) !== undefined) return bounded(key, value);
  return Number(amount) === 0
    ? { problem: 'it is no duration' }
    : { key, value: '24d', narrower: `limits.${key} is at most 24d` };
}

/** What one size needs of the others, so that a larger or smaller one is not refused. In bytes. */
export function fitSizes(limits: Record<string, string | number>): void {
  const bytes = (key: string): number => {
    const text = limits[key] ?? schema[key]?.default;
    return typeof text === 'string' ? (sizeBytes(text) ?? 0) : 0;
  };
  const largest = 268_435_455;
  // A packet without a bound of its own carries what the payload may have, and its topic and properties.
  if (limits['packetBytes'] === undefined && bytes('payloadBytes') > bytes('packetBytes')) {
    limits['packetBytes'] = `${Math.min(bytes('payloadBytes') + 65_536, largest)}B`;
  }
  for (const key of ['connectBytes', 'payloadBytes']) {
    if (bytes(key) > bytes('packetBytes')) limits[key] = `${bytes('packetBytes')}B`;
  }
}
