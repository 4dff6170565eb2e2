/**
 * Who asks, when the connection says nothing of it: by the token that a request shows, or by the signature over it, for
 * which its body has to be read first, within bounds of their own.
 */
import type { DenyCode } from '../../../../common/base/errors.ts';
import type { PrincipalName } from '../../../../common/base/principal.ts';
import type { AuthenticationMethod } from '../../../../common/config/proxied-route.ts';
import { canonicalTarget } from '../../../../common/base/canonical-path.ts';
import { Tokens } from '../../../credentials/tokens/tokens.ts';
import type { Signed } from '../../../policy/integrity.ts';
import type { IdentityRecord } from '../../../policy/ports.ts';
import type { Exchange } from '../../http/exchange.ts';
import type { RequestHead } from '../../http/request-head.ts';
import type { SignedHttpsPorts } from './ports.ts';
import { signingRulesOf } from './signing-rules.ts';
import type { UnprovenBodies } from './unproven-bodies.ts';

export interface Proof {
  readonly ok: true;
  readonly name: PrincipalName;
  /** The live record. */
  readonly identity: IdentityRecord;
  readonly by: AuthenticationMethod;
  /** Milliseconds, wall clock: what was begun MUST end then. */
  readonly notAfterMs: number;
  /** False once what it was proven by is not in force any more. */
  readonly stands: () => boolean;
  /** Whoever is let in by it MUST pass its `verify`. */
  readonly signed: Signed | undefined;
}

export interface Unproven {
  readonly ok: false;
  readonly code: DenyCode;
  readonly detail: string;
  /** Value of `WWW-Authenticate`. */
  readonly challenge: string | undefined;
}

export interface ProvingParts {
  readonly ports: SignedHttpsPorts;
  readonly bodies: UnprovenBodies;
  /** Of whoever asks. */
  readonly address: string;
}

const noBytes = Buffer.alloc(0);

/** @returns undefined when the exchange was over before it was known. Rejects for a defect only. */
export async function prove(
  parts: ProvingParts,
  exchange: Exchange,
  head: RequestHead,
): Promise<Proof | Unproven | undefined> {
  // Another scheme is the backend's, and so is a signature that comes with a token the route's to ask for.
  return Tokens.takes(head.authorization)
    ? byToken(parts, exchange, head)
    : bySignature(parts, exchange, head);
}

async function byToken(
  { ports }: ProvingParts,
  { request }: Exchange,
  { method, host, authorization }: RequestHead,
): Promise<Proof | Unproven> {
  const target = canonicalTarget(request.target);
  if (!target.ok) return unproven('malformed', target.problem);
  const verdict = await ports.tokens.authenticate({
    method,
    authority: host,
    path: target.path,
    dpop: request.values('dpop'),
    authorization,
    peer: { certificate: undefined, principal: undefined },
  });
  if (!verdict.ok) return verdict;
  const { principal: name, identity, by, expiresAt: notAfterMs, stands } = verdict;
  return { ok: true, name, identity, by, notAfterMs, stands, signed: undefined };
}

async function bySignature(
  parts: ProvingParts,
  exchange: Exchange,
  head: RequestHead,
): Promise<Proof | Unproven | undefined> {
  const { ports } = parts;
  const rules = signingRulesOf(ports.policy().document);
  const { rawHeaders, target: url } = exchange.request;
  const target = canonicalTarget(url);
  if (!target.ok) return unproven('malformed', target.problem);
  const asked = { method: head.method, path: target.path, query: head.query, rawHeaders };
  const isSigned = ports.signatures.signedRequest({
    ...asked,
    body: noBytes,
    principal: undefined,
  });
  if (rules === undefined || isSigned === undefined) {
    return unproven('unauthenticated', 'no proof of any kind', ports.tokens.invitation);
  }
  const body = await unprovenBody(parts, exchange, head);
  if (body === undefined || 'ok' in body) return body;
  const found = ports.signatures.authenticateBySignature(
    { ...asked, body, principal: undefined },
    rules,
  );
  if (!found.ok) return unproven(found.code ?? 'integrity', found.detail);
  const { name, identity, signed, stands } = found;
  exchange.giveBody(body);
  return {
    ok: true,
    name,
    identity,
    by: 'signature',
    // The end of a key is among what `stands` looks at.
    notAfterMs: Number.POSITIVE_INFINITY,
    stands,
    signed,
  };
}

async function unprovenBody(
  { ports, bodies, address }: ProvingParts,
  exchange: Exchange,
  { bodyBytes }: RequestHead,
): Promise<Buffer | Unproven | undefined> {
  if (bodyBytes === 0) return noBytes;
  const { unprovenBodyBytes } = ports.limits();
  if (bodyBytes !== 'unknown' && bodyBytes > unprovenBodyBytes) {
    return unproven('too-large', `${bodyBytes} bytes before it is known whose they are`);
  }
  const giveBack = bodies.take(address, bodyBytes === 'unknown' ? unprovenBodyBytes : bodyBytes);
  if (giveBack === undefined) return unproven('busy', 'limits.unprovenBytes is reached');
  try {
    return await exchange.wholeBody(unprovenBodyBytes);
  } finally {
    giveBack();
  }
}

function unproven(code: DenyCode, detail: string, challenge?: string): Unproven {
  return { ok: false, code, detail, challenge };
}
