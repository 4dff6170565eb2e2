/** What the device API answers, read with suspicion: refusals (RFC 9457) and lists of commands. */
import type { IncomingHttpHeaders } from 'node:http';
import { denyCodes, SallyportError } from '../common/base/errors.ts';
import type { DenyCode } from '../common/base/errors.ts';
import { parseStrictJson } from '../common/base/strict-json.ts';
import type { JsonObject, JsonValue } from '../common/base/strict-json.ts';
import type { Command } from './link.ts';

export interface ApiAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** docs/architecture.md, "The way of a message", for an answer that does not say its code. */
const codesOfStatus: ReadonlyMap<number, DenyCode> = new Map<number, DenyCode>([
  [400, 'malformed'],
  [401, 'unauthenticated'],
  [403, 'forbidden'],
  [404, 'not-found'],
  [405, 'not-found'],
  [413, 'too-large'],
  [415, 'malformed'],
  [422, 'schema'],
  [429, 'rate'],
  [431, 'too-large'],
  [507, 'quota'],
]);

/** Why the gateway said no; anything that nobody has a word for is a gateway out of order. */
export function codeOfAnswer({ status, body }: ApiAnswer): DenyCode {
  const given = fieldOf(parsed(body), 'code');
  const known = denyCodes.find((code) => code === given);
  return known ?? codesOfStatus.get(status) ?? 'unavailable';
}

/** Milliseconds of `Retry-After`, as far as it is a number of seconds (RFC 9110 section 10.2.3) and not above `mostMs`. */
export function retryAfterMs({ headers }: ApiAnswer, mostMs: number): number | undefined {
  const text = headers['retry-after'] ?? '';
  return /^\d{1,6}$/.test(text) ? Math.min(Number(text) * 1_000, mostMs) : undefined;
}

/**
 * The commands in a 200.
 *
 * @throws SallyportError `malformed` when it is no list of commands.
 */
export function commandsIn(body: Buffer, deviceId: string): Command[] {
  const list = parsed(body);
  if (!Array.isArray(list)) throw notACommand();
  return list.map((entry) => commandOf(entry, `devices/${deviceId}/commands/`));
}

function commandOf(entry: JsonValue, prefix: string): Command {
  const id = fieldOf(entry, 'id');
  const topic = fieldOf(entry, 'topic');
  if (typeof id !== 'string' || id === '') throw notACommand();
  if (typeof topic !== 'string' || !topic.startsWith(prefix)) throw notACommand();
  const name = topic.slice(prefix.length);
  return { id, name, payload: payloadOf(entry), correlationData: undefined };
}

function payloadOf(entry: JsonValue): Buffer {
  const encoded = fieldOf(entry, 'payload_base64');
  if (typeof encoded === 'string') return Buffer.from(encoded, 'base64');
  return Buffer.from(JSON.stringify(fieldOf(entry, 'payload') ?? null));
}

function parsed(body: Buffer): JsonValue | undefined {
  const result = parseStrictJson(body);
  return result.ok ? result.value : undefined;
}

function fieldOf(value: JsonValue | undefined, name: string): JsonValue | undefined {
  return isObject(value) ? value[name] : undefined;
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function notACommand(): SallyportError {
  return new SallyportError('malformed', 'the gateway answered what is no list of commands');
}
