/**
 * The one table from the policy's codes to what HTTP says (docs/architecture.md, "Codes"), and every answer that is
 * the same each time, made once. A refusal is a problem document (RFC 9457) with its code and nothing more.
 */
import { STATUS_CODES } from 'node:http';
import type { DenyCode } from '../../../common/base/errors.ts';
import { dateLine, headerText, statusLine } from './head-text.ts';
import { wholeSeconds } from './rate-fields.ts';

/** Seconds after which a device may come again: when nobody can say how long its rate refuses it, and when we are unable to serve. */
const rateRetrySeconds = 1;
const unableRetrySeconds = 5;

/** What is said of every answer: it is for this device and this moment, and is what it says it is. */
const constant = ['Cache-Control', 'no-store', 'X-Content-Type-Options', 'nosniff'] as const;
const close = ['Connection', 'close'] as const;

/** Header lines as text, each with its end: of a connection that goes on, and of one that ends. */
export interface Headers {
  readonly keeping: string;
  readonly closing: string;
}

export interface Problem {
  readonly code: DenyCode;
  readonly status: number;
  /** The connection ends with it: who it is, or where the next request begins, is not to be trusted. */
  readonly closes: boolean;
  readonly headers: Headers;
  readonly body: Buffer;
}

/** An answer's own lines, names and values in turn, and what is said of every answer. */
export function headers(...lines: readonly string[]): Headers {
  return onlyHeaders(...lines, ...constant);
}

/** These lines and no others. */
export function onlyHeaders(...lines: readonly string[]): Headers {
  const keeping = headerText(lines);
  return { keeping, closing: keeping + headerText(close) };
}

function problem(
  code: DenyCode,
  status: number,
  closes: 'closes' | 'stays',
  ...more: readonly string[]
): Problem {
  const title = STATUS_CODES[status] ?? '';
  const body = Buffer.from(JSON.stringify({ type: 'about:blank', title, status, code }));
  const type = ['Content-Type', 'application/problem+json', 'Content-Length', String(body.length)];
  return Object.freeze({
    code,
    status,
    closes: closes === 'closes',
    headers: headers(...type, ...more),
    body,
  });
}

function upgradeHeaders(): Headers {
  const { headers: plain } = problem('malformed', 426, 'closes');
  const said = ['Upgrade', 'websocket', 'Sec-WebSocket-Version', '13'];
  const lines = plain.keeping + headerText([...said, 'Connection', 'close, Upgrade']);
  return { keeping: lines, closing: lines };
}

const unable = ['Retry-After', String(unableRetrySeconds)] as const;

export const problems: Readonly<Record<DenyCode, Problem>> = Object.freeze({
  unauthenticated: problem('unauthenticated', 401, 'closes'),
  standing: problem('standing', 403, 'closes'),
  busy: problem('busy', 503, 'stays', ...unable),
  rate: problem('rate', 429, 'stays', 'Retry-After', String(rateRetrySeconds)),
  quota: problem('quota', 507, 'stays'),
  'too-large': problem('too-large', 413, 'closes'),
  malformed: problem('malformed', 400, 'closes'),
  forbidden: problem('forbidden', 403, 'stays'),
  integrity: problem('integrity', 401, 'closes'),
  schema: problem('schema', 422, 'stays'),
  'not-found': problem('not-found', 404, 'stays'),
  unavailable: problem('unavailable', 503, 'stays', ...unable),
});

/** Refusals for a rate are made once per wait; waits beyond these many are made each time. */
const keptWaits = 256;
const byWait = new Map<number, Problem>([[rateRetrySeconds, problems.rate]]);

/** RFC 9110 §10.2.3: whole seconds, rounded up. */
export function tooFast(retryAfterMs: number | undefined): Problem {
  if (retryAfterMs === undefined || !Number.isFinite(retryAfterMs)) return problems.rate;
  const seconds = Math.max(1, wholeSeconds(retryAfterMs));
  let made = byWait.get(seconds);
  if (made === undefined) {
    made = problem('rate', 429, 'stays', 'Retry-After', String(seconds));
    if (byWait.size < keptWaits) byWait.set(seconds, made);
  }
  return made;
}

/** Nobody is told to wait for longer: what is behind us may be mended at any time. */
const longestUnableSeconds = 60;
const unableByWait = new Map<string, Problem>();

/** The same of an upstream that cannot serve now. */
export function retryLater(
  code: 'busy' | 'unavailable',
  retryAfterMs: number | undefined,
): Problem {
  if (retryAfterMs === undefined || !Number.isFinite(retryAfterMs)) return problems[code];
  const seconds = Math.min(longestUnableSeconds, Math.max(1, wholeSeconds(retryAfterMs)));
  const key = `${code} ${seconds}`;
  let made = unableByWait.get(key);
  if (made === undefined) {
    made = problem(code, 503, 'stays', 'Retry-After', String(seconds));
    unableByWait.set(key, made);
  }
  return made;
}

/** Where HTTP has a more exact word. */
export const timedOut = problem('malformed', 408, 'closes');
export const unsupportedCoding = problem('malformed', 415, 'closes');
export const unknownExpectation = problem('malformed', 417, 'closes');
export const headersTooLarge = problem('too-large', 431, 'closes');
export const notImplemented = problem('not-found', 501, 'stays');
export const unsupportedVersion = problem('malformed', 505, 'closes');

/** RFC 9110 §15.5.22, RFC 6455 §4.4: what is spoken there instead. */
export const upgradeRequired: Problem = Object.freeze({
  ...problem('malformed', 426, 'closes'),
  headers: upgradeHeaders(),
});

/** RFC 9110 §15.5.6: what would be allowed is said. */
export function methodNotAllowed(allow: string): Problem {
  return problem('not-found', 405, 'stays', 'Allow', allow);
}

/** A message was accepted. */
export const accepted = headers('Content-Length', '0');
export const noContent = headers();
export const eventStream = headers('Content-Type', 'text/event-stream');

export function json(bytes: number): Headers {
  return headers('Content-Type', 'application/json', 'Content-Length', String(bytes));
}

/** A whole answer that is the last of its connection, for a request that could not be read. */
export function asBytes({ status, headers: { closing }, body }: Problem, now: number): Buffer {
  const head = `${statusLine(status)}${closing}${dateLine(now)}\r\n`;
  return Buffer.concat([Buffer.from(head, 'latin1'), body]);
}
