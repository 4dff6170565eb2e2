/**
 * What a backend can verify for itself: a JWT (RFC 7519) that says who asks for what, for one request, signed by the gateway
 * and checked against the key set that the gateway publishes. For upstreams whose route wants it.
 */
import { createPrivateKey, randomUUID, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Clock } from '../../../../common/base/clock.ts';
import { spiffeId } from '../../../../common/base/principal.ts';
import type { PrincipalName } from '../../../../common/base/principal.ts';
import type { AssertionKeys, CredentialMaterial } from '../../../../common/ipc/credentials.ts';
import type { UpstreamSettings } from '../../../../common/ipc/snapshot.ts';

/** As long as a request may wait for its turn at a backend whose clock is not quite ours. */
const lifeSeconds = 60;
/** RFC 8725 §3.11: no other token of the gateway can be taken for one of these. */
const type = 'sallyport-identity+jwt';
/** The issuer of the gateway's own token endpoint (`TokenIssuer.name`). */
const ownIssuer = 'own';

export interface AssertedRequest {
  readonly principal: PrincipalName;
  readonly method: string;
  /** Canonical, as the device has asked for it. */
  readonly path: string;
}

interface Signer {
  readonly key: KeyObject;
  /** Encoded, with the dot. */
  readonly head: string;
  readonly issuer: string;
}

export class Assertions {
  readonly #clock: Clock;
  /** By route. */
  #audiences: ReadonlyMap<string, string> = new Map();
  #signer: Signer | undefined;
  #keySet = keySetOf([]);

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  setUpstreams(upstreams: readonly UpstreamSettings[]): void {
    const wanted = upstreams.filter(({ identity }) => identity === 'jwt');
    this.#audiences = new Map(wanted.map(({ route, audience }) => [route, audience]));
  }

  setCredentials({ assertions, issuers }: CredentialMaterial): void {
    this.#signer = assertions === undefined ? undefined : signerOf(assertions);
    const own = issuers.find(({ name }) => name === ownIssuer);
    this.#keySet = keySetOf([...(assertions?.keys ?? []), ...(own?.keys ?? [])]);
  }

  /** Public keys with which what the gateway signs is verified (RFC 7517 §5). */
  get keySet(): Buffer {
    return this.#keySet;
  }

  isWanted(route: string): boolean {
    return this.#audiences.size > 0 && this.#audiences.has(route);
  }

  /** @returns undefined when there is no key for it yet: the request MUST not go on without one that is wanted. */
  sign(
    route: string,
    trustDomain: string,
    { principal, method, path }: AssertedRequest,
  ): string | undefined {
    const signer = this.#signer;
    if (signer === undefined) return undefined;
    const now = Math.floor(this.#clock.now() / 1_000);
    const claims = {
      iss: signer.issuer,
      aud: this.#audiences.get(route),
      sub: spiffeId(trustDomain, principal),
      iat: now,
      exp: now + lifeSeconds,
      jti: randomUUID(),
      method,
      path,
    };
    const text = signer.head + Buffer.from(JSON.stringify(claims)).toString('base64url');
    // RFC 7518 §3.4: the two numbers side by side.
    const signature = sign('sha256', Buffer.from(text), {
      key: signer.key,
      dsaEncoding: 'ieee-p1363',
    });
    return `${text}.${signature.toString('base64url')}`;
  }
}

function signerOf({ kid, privateKey, issuer }: AssertionKeys): Signer {
  const head = Buffer.from(JSON.stringify({ alg: 'ES256', typ: type, kid }));
  return { key: createPrivateKey(privateKey), head: `${head.toString('base64url')}.`, issuer };
}

/** Two that are the same key are one. */
function keySetOf(keys: readonly Readonly<Record<string, unknown>>[]): Buffer {
  const byId = new Map(keys.map((key) => [key['kid'], key]));
  return Buffer.from(JSON.stringify({ keys: [...byId.values()] }));
}
