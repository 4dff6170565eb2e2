/** What control answered to a request for a token, checked before it is handed on, and as HTTP says it. */
import { SallyportError } from '../../../../common/base/errors.ts';
import type { Exchange } from '../../http/exchange.ts';
import { headers } from '../../http/wire.ts';

/** The header fields that such an answer may have. That nobody stores it is said of every answer. */
const fields: Readonly<Record<string, string>> = Object.freeze({
  'content-type': 'Content-Type',
  pragma: 'Pragma',
  'retry-after': 'Retry-After',
  'www-authenticate': 'WWW-Authenticate',
});
const visible = /^[\x20-\x7e]{1,1024}$/;
const json = /^\{[\x20-\x7e]{0,16384}\}$/;
const statuses: ReadonlySet<unknown> = new Set([200, 400, 401, 429]);

export interface GivenAnswer {
  readonly status: number;
  /** Names and values in turn. */
  readonly lines: readonly string[];
  readonly body: Buffer;
}

/** @throws SallyportError `internal` when control answered something else. */
export function readTokenAnswer(value: unknown): GivenAnswer {
  if (!isRecord(value)) throw strange('it is no object');
  const { status, headers: given, body } = value;
  if (typeof status !== 'number' || !statuses.has(status)) throw strange('status');
  if (!isRecord(given)) throw strange('headers');
  if (typeof body !== 'string' || !json.test(body)) throw strange('body');
  const lines = Object.entries(given).flatMap(([name, text]) => {
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (field === undefined || typeof text !== 'string' || !visible.test(text))
      throw strange('a header');
    return [field, text];
  });
  return { status, lines, body: Buffer.from(body) };
}

export function giveToken(exchange: Exchange, { status, lines, body }: GivenAnswer): void {
  exchange.answer(status, headers(...lines, 'Content-Length', String(body.length)), body);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function strange(what: string): SallyportError {
  return new SallyportError('internal', `an answer of control about a token is none: ${what}`);
}
