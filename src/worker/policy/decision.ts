/**
 * What the pipeline answers: allow, or deny with one code. `row` and `detail` are for the log and `policy test`; the
 * peer learns the code and nothing more.
 */
import type { DenyCode } from '../../common/base/errors.ts';

export interface Allow {
  readonly allowed: true;
}

export interface Deny {
  readonly allowed: false;
  readonly code: DenyCode;
  /** The row of the table that decided. */
  readonly row: string;
  readonly detail: string;
  /** The same would pass after this, if nothing else comes before it; not there when nobody can say. */
  readonly retryAfterMs?: number;
}

export type Decision = Allow | Deny;

export const allow: Allow = Object.freeze({ allowed: true });

export function deny(code: DenyCode, row: string, detail: string): Deny {
  return Object.freeze({ allowed: false, code, row, detail });
}

/** The same refusal, and when to come again. */
export function denyUntil(denial: Deny, retryAfterMs: number): Deny {
  return Object.freeze({ ...denial, retryAfterMs });
}
