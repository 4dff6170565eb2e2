/**
 * `POST /oauth2/token` (RFC 6749 section 3.2): what cannot be a request for a token is refused here, the rest is carried to
 * control and its answer back. Nothing about the client is judged but that it holds the key of its certificate.
 */
import { denyCodes, errorCodeOf, messageOf } from '../../../../common/base/errors.ts';
import type { Exchange } from '../../http/exchange.ts';
import type { RequestHead } from '../../http/request-head.ts';
import { headers, unsupportedCoding } from '../../http/wire.ts';
import type { Problem } from '../../http/wire.ts';
import type { OAuthPeer, OAuthPorts } from './ports.ts';
import { readForm } from './read-form.ts';
import { giveToken, readTokenAnswer } from './token-answer.ts';

export const tokenPath = '/oauth2/token';

/** Of a body: an assertion of 8 kB, escaped, with what stands around it. Stops what would be buffered for nothing. */
const mostBytes = 16 * 1024;
const formType =
  /^application\/x-www-form-urlencoded[ \t]*(?:;[ \t]*charset=["]?utf-8["]?[ \t]*)?$/i;
/** RFC 9110 section 11.1. */
const schemePattern = /^([A-Za-z][A-Za-z0-9-]{0,31})(?: |$)/;

/** Section 5.2, for what never comes to control. */
const badRequest = oauthProblem({ error: 'invalid_request' });

/** @returns a promise that rejects for a defect only. */
export async function handleToken(
  { credentials, call, failed, count }: OAuthPorts,
  { peerCertificate, remoteAddress }: OAuthPeer,
  exchange: Exchange,
  { contentType, contentCoding, bodyBytes, authorization, query }: RequestHead,
): Promise<void> {
  if (credentials()?.tokenEndpoint === undefined) {
    return exchange.refuse('not-found', 'no token endpoint');
  }
  // Section 3.2 allows for a query; nobody puts anything into it that is not better in the body, and out of logs.
  if (query !== undefined) return exchange.refuseWith(badRequest, 'a query');
  if (contentCoding !== undefined && contentCoding.toLowerCase() !== 'identity') {
    return exchange.refuseWith(unsupportedCoding, 'Content-Encoding');
  }
  if (!formType.test(contentType ?? '')) return exchange.refuseWith(badRequest, 'Content-Type');
  if (bodyBytes !== 'unknown' && bodyBytes > mostBytes) {
    return exchange.refuse('too-large', `${bodyBytes} bytes`);
  }
  const body = await exchange.wholeBody(mostBytes);
  if (body === undefined) return undefined;
  const form = readForm(body);
  if (!form.ok) return exchange.refuseWith(badRequest, form.problem);
  try {
    const answer = readTokenAnswer(
      await call({
        what: peerCertificate === undefined ? 'stranger-token' : 'token',
        address: remoteAddress,
        certificate: peerCertificate?.toString('base64'),
        scheme: authorization === undefined ? undefined : schemeOf(authorization),
        parameters: form.parameters,
      }),
    );
    count(`token_answers{status="${answer.status}"}`);
    // Each try of somebody who has proven nothing is paid for with a handshake, whose pace is the network's.
    if (answer.status === 401 && peerCertificate === undefined) {
      failed(remoteAddress);
      exchange.makeLast();
    }
    return giveToken(exchange, answer);
  } catch (error) {
    const code = errorCodeOf(error);
    return exchange.refuse(
      denyCodes.find((each) => each === code) ?? 'unavailable',
      messageOf(error),
    );
  }
}

/** What no client has written is called what most write. */
function schemeOf(authorization: string): string {
  return schemePattern.exec(authorization)?.[1] ?? 'Basic';
}

function oauthProblem(says: { readonly error: string }): Problem {
  const body = Buffer.from(JSON.stringify(says));
  const type = ['Content-Type', 'application/json', 'Content-Length', String(body.length)];
  return Object.freeze({
    code: 'malformed',
    status: 400,
    closes: false,
    headers: headers(...type, 'Pragma', 'no-cache'),
    body,
  });
}
