/**
 * Errors of the admin API on the wire: RFC 9457 problem details with `code`. The one table from code to HTTP status.
 */
import { STATUS_CODES } from 'node:http';
import { errorCodeOf, SallyportError } from '../../common/base/errors.ts';
import type { ErrorCode } from '../../common/base/errors.ts';

const statusOf: Readonly<Record<ErrorCode, number>> = Object.freeze({
  unauthenticated: 401,
  standing: 403,
  busy: 503,
  rate: 429,
  quota: 507,
  'too-large': 413,
  malformed: 400,
  forbidden: 403,
  integrity: 401,
  schema: 422,
  'not-found': 404,
  unavailable: 503,
  usage: 400,
  'invalid-config': 422,
  'invalid-csr': 422,
  'invalid-certificate': 422,
  'invalid-frame': 500,
  'unknown-principal': 404,
  'already-exists': 409,
  'wrong-standing': 409,
  'not-running': 503,
  locked: 409,
  'no-key': 409,
  tampered: 500,
  io: 500,
  timeout: 504,
  internal: 500,
});

export interface Problem {
  readonly type: 'about:blank';
  readonly title: string;
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail?: string;
  readonly hint?: string;
}

/**
 * `detailed` is for callers that are operators. Whoever is not learns the code. A defect, which is anything thrown that
 * is not ours, is explained to nobody: its message is not written for readers and may carry what it should not.
 */
export function problemOf(thrown: unknown, detailed: boolean): Problem {
  const code = errorCodeOf(thrown);
  const status = statusOf[code];
  const bare: Problem = {
    type: 'about:blank',
    title: STATUS_CODES[status] ?? 'Error',
    status,
    code,
  };
  if (!detailed || !(thrown instanceof SallyportError)) return bare;
  return {
    ...bare,
    detail: thrown.message,
    ...(thrown.hint === undefined ? {} : { hint: thrown.hint }),
  };
}
