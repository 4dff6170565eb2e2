/** What control answered, checked before it is handed on, and as HTTP says it. */
import { SallyportError } from '../../../common/base/errors.ts';
import type { Exchange } from '../http/exchange.ts';
import { headers } from '../http/wire.ts';

export interface Answer {
  readonly status: number;
  /** Names and values in turn. */
  readonly lines: readonly string[];
  readonly body: Buffer;
}

/** The header fields that an answer of EST may have. */
const fields: Readonly<Record<string, string>> = Object.freeze({
  allow: 'Allow',
  'content-type': 'Content-Type',
  'content-transfer-encoding': 'Content-Transfer-Encoding',
  'retry-after': 'Retry-After',
  'www-authenticate': 'WWW-Authenticate',
});
const visible = /^[\x20-\x7e]{1,1024}$/;
const base64 = /^[A-Za-z0-9+/]*={0,2}$/;
/** Many generations of CAs, twice in base64. */
const maxBase64 = 2 * 1_048_576;

/** @throws SallyportError `internal` when control answered something else. */
export function readAnswer(value: unknown): Answer {
  if (!isRecord(value)) throw strange('it is no object');
  const { status, headers: given, body } = value;
  if (typeof status !== 'number' || !Number.isInteger(status) || status < 200 || status > 599)
    throw strange('status');
  if (!isRecord(given)) throw strange('headers');
  if (typeof body !== 'string' || body.length > maxBase64 || !base64.test(body))
    throw strange('body');
  const lines = Object.entries(given).flatMap(([name, text]) => {
    const field = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (field === undefined || typeof text !== 'string' || !visible.test(text))
      throw strange('a header');
    return [field, text];
  });
  return { status, lines, body: Buffer.from(body, 'base64') };
}

export function give(exchange: Exchange, { status, lines, body }: Answer): void {
  // RFC 9110 §8.6: a 204 has no length, for it has no content.
  const length = status === 204 ? [] : ['Content-Length', String(body.length)];
  exchange.answer(status, headers(...lines, ...length), status === 204 ? undefined : body);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function strange(what: string): SallyportError {
  return new SallyportError('internal', `an answer of control to EST is none: ${what}`);
}
