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
}

export type Decision = Allow | Deny;

export const allow: Allow = Object.freeze({ allowed: true });

export function deny(code: DenyCode, row: string, detail: string): Deny {
  return Object.freeze({ allowed: false, code, row, detail });
}
