/** What is concluded from a token, and what its bearer is told when nothing good is. */
import type { DenyCode } from '../../../common/base/errors.ts';
import type { PrincipalName } from '../../../common/base/principal.ts';
import type { AuthenticationMethod } from '../../../common/config/proxied-route.ts';
import type { IdentityRecord } from '../../policy/ports.ts';
import type { Confirmation } from './claims.ts';

/** The ways of authentication that are tokens. */
export type TokenMethod = Extract<AuthenticationMethod, 'token' | 'device-jwt'>;

export interface TokenAccepted {
  readonly ok: true;
  readonly by: TokenMethod;
  readonly principal: PrincipalName;
  /**
   * The registry's live record wherever there is one. Otherwise that of a principal whom only the issuer knows; all that
   * hold it see the same, and it becomes what the registry says as soon as the registry says something.
   */
  readonly identity: IdentityRecord;
  /** False: only its issuer knows it. Budgets and standing go by the name all the same. */
  readonly registered: boolean;
  /** Milliseconds, wall clock: what was begun with the token MUST end then. */
  readonly expiresAt: number;
  /**
   * False once what the token was verified by is not in force any more: its key was withdrawn, its issuer is trusted no
   * more. What lasts longer than a request MUST ask again whenever the snapshot has changed, and end.
   */
  readonly stands: () => boolean;
  readonly scopes: readonly string[];
}

export interface TokenRefused {
  readonly ok: false;
  /**
   * `unauthenticated`; `forbidden` for want of a scope; `unavailable`, `busy` and `rate` when it cannot be judged now.
   */
  readonly code: DenyCode;
  /** For the log; holds nothing of the token. */
  readonly detail: string;
  /** Value of `WWW-Authenticate`; undefined where asking with another token is of no use. */
  readonly challenge: string | undefined;
}

export type TokenVerdict = TokenAccepted | TokenRefused;

/** Errors of RFC 6750 section 3.1 and RFC 9449 section 7.1. */
export type TokenError = 'invalid_token' | 'insufficient_scope' | 'invalid_dpop_proof';

/** Why a token is not taken, before it is said in the words of a protocol. */
export interface TokenProblem {
  readonly ok: false;
  readonly code: DenyCode;
  readonly error: TokenError | undefined;
  readonly detail: string;
}

export function invalidToken(detail: string): TokenProblem {
  return { ok: false, code: 'unauthenticated', error: 'invalid_token', detail };
}

export function invalidProof(detail: string): TokenProblem {
  return { ok: false, code: 'unauthenticated', error: 'invalid_dpop_proof', detail };
}

export function notNow(code: 'unavailable' | 'busy' | 'rate', detail: string): TokenProblem {
  return { ok: false, code, error: undefined, detail };
}

/** A token whose signature, issuer and claims are good. What depends on the request is yet to be seen. */
export interface VerifiedToken {
  readonly ok: true;
  readonly by: TokenMethod;
  readonly principal: PrincipalName;
  readonly scopes: readonly string[];
  /** Scopes without which it is good for nothing here. */
  readonly required: readonly string[];
  /** Milliseconds, wall clock. */
  readonly expiresAt: number;
  /** Until then, at most, it need not be verified again. */
  readonly keepUntil: number;
  readonly confirmation: Confirmation;
  /** As `TokenAccepted` has it. */
  readonly stands: () => boolean;
  /** The role of a principal that is not registered; undefined = it has to be. */
  readonly guest: Guest | undefined;
}

export interface Guest {
  /** Name of its issuer in the configuration. */
  readonly issuer: string;
  readonly role: string;
}
