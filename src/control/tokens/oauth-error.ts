/** Refusals of the token endpoint (RFC 6749 section 5.2). A client is told the code; the detail is for the log. */
import { SallyportError } from '../../common/base/errors.ts';
import type { DenyCode } from '../../common/base/errors.ts';

/** `invalid_target` is of RFC 8707; `slow_down`, of RFC 8628, is the one word that OAuth has for a rate. */
const denials = {
  invalid_request: 'malformed',
  invalid_client: 'unauthenticated',
  unauthorized_client: 'forbidden',
  unsupported_grant_type: 'malformed',
  invalid_scope: 'forbidden',
  invalid_target: 'forbidden',
  slow_down: 'rate',
} as const satisfies Readonly<Record<string, DenyCode>>;

export type OAuthErrorCode = keyof typeof denials;

export class OAuthError extends SallyportError {
  readonly error: OAuthErrorCode;
  /** Seconds, for `slow_down`. */
  readonly retryAfter: number | undefined;

  constructor(error: OAuthErrorCode, detail: string, retryAfter?: number) {
    super(denials[error], detail);
    this.error = error;
    this.retryAfter = retryAfter;
  }
}
