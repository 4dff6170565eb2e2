/** What the token endpoint says, complete: the worker hands it on. One table from error to status. */
import type { TokenAnswer } from '../../common/ipc/control-calls.ts';
import type { OAuthError, OAuthErrorCode } from './oauth-error.ts';

const statuses: Readonly<Record<OAuthErrorCode, number>> = {
  invalid_request: 400,
  invalid_client: 401,
  unauthorized_client: 400,
  unsupported_grant_type: 400,
  invalid_scope: 400,
  invalid_target: 400,
  slow_down: 429,
};

/** RFC 6749 section 5.1; `Cache-Control: no-store` is on every answer of a worker. */
const json = { 'content-type': 'application/json', pragma: 'no-cache' } as const;

export interface Granted {
  readonly token: string;
  readonly seconds: number;
  readonly scope: string;
}

export function tokenAnswer({ token, seconds, scope }: Granted): TokenAnswer {
  const body = { access_token: token, token_type: 'Bearer', expires_in: seconds, scope };
  return { status: 200, headers: json, body: JSON.stringify(body) };
}

/** @param scheme of the Authorization header field by which the client tried to authenticate, if it did. */
export function errorAnswer(
  { error, retryAfter }: OAuthError,
  scheme: string | undefined,
): TokenAnswer {
  const headers: Record<string, string> = { ...json };
  // Section 5.2: with the scheme that the client has used. None is any good here.
  if (error === 'invalid_client' && scheme !== undefined) {
    headers['www-authenticate'] = `${scheme} realm="sallyport"`;
  }
  if (retryAfter !== undefined) headers['retry-after'] = String(retryAfter);
  return { status: statuses[error], headers, body: JSON.stringify({ error }) };
}
