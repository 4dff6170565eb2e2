/**
 * From what a request shows to a principal: access tokens of configured issuers and JWTs that devices sign, with the
 * proofs that bind them to whoever presents them. Nothing is fetched because a token says so. Verified tokens are
 * remembered, for devices send the same one again and again; proofs never are.
 */
import { hash } from 'node:crypto';
import { principalParts } from '../../../common/base/principal.ts';
import type { PrincipalName } from '../../../common/base/principal.ts';
import type { CredentialMaterial } from '../../../common/ipc/credentials.ts';
import { verifyAccessToken } from './access-token.ts';
import { challenge } from './challenge.ts';
import type { Scheme } from './challenge.ts';
import { decodeJws, looksLikeJws } from './compact-jws.ts';
import { verifyDeviceJwt } from './device-jwt.ts';
import { DpopProofs } from './dpop-proof.ts';
import type { ProvenRequest } from './dpop-proof.ts';
import { Guests } from './guests.ts';
import { Issuer } from './issuer.ts';
import { KeyRefresh } from './key-refresh.ts';
import { LastUsed } from './last-used.ts';
import type { TokenPorts } from './ports.ts';
import { invalidToken } from './verdict.ts';
import type { TokenAccepted, TokenProblem, TokenVerdict, VerifiedToken } from './verdict.ts';

/** The head of a request, and what TLS knows of who sends it. */
export interface TokenRequest extends ProvenRequest {
  /** The value of the Authorization field; undefined = there is none. */
  readonly authorization: string | undefined;
  readonly peer: TokenPeer;
}

export interface TokenPeer {
  /** DER of the certificate whose key the handshake has proven, whoever signed it; undefined = none. */
  readonly certificate: Buffer | undefined;
  /** Whom that certificate names, where it is one of ours: a device speaks for itself only. */
  readonly principal: PrincipalName | undefined;
}

type Verification = VerifiedToken | TokenProblem;

/** RFC 9110 section 11.4 and RFC 6750 section 2.1. */
const credentials = /^(bearer|dpop) +([A-Za-z0-9._~+/-]+=*)$/i;

export class Tokens {
  readonly #ports: TokenPorts;
  readonly #proofs: DpopProofs;
  readonly #refresh: KeyRefresh;
  readonly #guests = new Guests();
  /** By `iss`. */
  #issuers = new Map<string, Issuer>();
  /** By hash of the token: nothing here can be used as one. */
  readonly #verified = new LastUsed<VerifiedToken>();

  constructor(ports: TokenPorts) {
    this.#ports = ports;
    this.#proofs = new DpopProofs(ports);
    this.#refresh = new KeyRefresh(ports);
  }

  /** MUST be called with each snapshot and each change of it. */
  update({ issuers }: Pick<CredentialMaterial, 'issuers'>): void {
    const before = this.#issuers;
    this.#issuers = new Map();
    for (const settings of issuers) {
      const known = before.get(settings.issuer);
      const issuer =
        known?.renew(settings) === true ? known : new Issuer(settings, this.#ports.introspector);
      this.#issuers.set(settings.issuer, issuer);
    }
    for (const [name, issuer] of before) {
      if (this.#issuers.get(name) !== issuer) issuer.end();
    }
  }

  /** MUST be called when identities have changed. */
  identitiesChanged(): void {
    this.#guests.recognise(this.#ports.identity);
  }

  /** Whether there is anything to judge: another scheme is for somebody else. */
  static takes(authorization: string | undefined): boolean {
    return authorization !== undefined && /^(?:bearer|dpop)(?: |$)/i.test(authorization);
  }

  /** For those who show no token and would have to. */
  get invitation(): string {
    return this.#challenge(undefined, undefined, []);
  }

  /** Never rejects. */
  async authenticate(request: TokenRequest): Promise<TokenVerdict> {
    const { authorization = '' } = request;
    const [, schemeName, token] = credentials.exec(authorization) ?? [];
    if (schemeName === undefined || token === undefined) {
      return this.#refused(invalidToken('there is no token'), undefined);
    }
    const scheme = schemeName.length === 'DPoP'.length ? 'DPoP' : 'Bearer';
    const verified = await this.#verify(token);
    if (!verified.ok) return this.#refused(verified, scheme);
    const unbound = bindingProblem(verified, scheme, request.peer);
    if (unbound !== undefined) return this.#refused(unbound, scheme);
    const { proofKey } = verified.confirmation;
    if (proofKey !== undefined) {
      const bound = { token, principal: verified.principal, proofKey };
      const problem = await this.#proofs.problem(request, bound);
      if (problem !== undefined) return this.#refused(problem, scheme);
    }
    const accepted = this.#accepted(verified);
    return accepted.ok ? accepted : this.#refused(accepted, scheme, verified.required);
  }

  /**
   * CONNECT of MQTT: the user name is the device's id, the password a JWT that it has signed. Never rejects.
   *
   * @param password as it came.
   */
  async authenticateMqtt(
    userName: string | undefined,
    password: Buffer | undefined,
    peer: TokenPeer,
  ): Promise<TokenVerdict> {
    if (password === undefined) {
      return this.#refused(invalidToken('there is no password'), undefined);
    }
    const token = password.toString('latin1');
    const verified = await this.#verify(token, 'device-jwt');
    if (!verified.ok) return this.#refused(verified, 'Bearer');
    if (principalParts(verified.principal).id !== userName) {
      return this.#refused(invalidToken('the user name is not that of the device'), 'Bearer');
    }
    const unbound = bindingProblem(verified, 'Bearer', peer);
    if (unbound !== undefined) return this.#refused(unbound, 'Bearer');
    const accepted = this.#accepted(verified);
    return accepted.ok ? accepted : this.#refused(accepted, 'Bearer');
  }

  /** @param only undefined = whichever it is. */
  async #verify(token: string, only?: VerifiedToken['by']): Promise<Verification> {
    if (token.length > this.#ports.bounds().tokenBytes)
      return invalidToken('the token is too large');
    const key = hash('sha256', token, 'base64');
    const known = this.#verified.get(key);
    if (known !== undefined && (only === undefined || known.by === only)) {
      if (this.#ports.clock.now() < known.keepUntil && known.stands()) return known;
      this.#verified.delete(key);
    }
    const verified = await this.#verifiedAnew(token, only);
    if (!verified.ok) return verified;
    // What it was verified by may have gone while its issuer was asked.
    if (!verified.stands()) return invalidToken('its key was withdrawn');
    if (verified.keepUntil > this.#ports.clock.now()) {
      this.#verified.set(key, verified, this.#ports.bounds().cachedTokens);
    }
    return verified;
  }

  /** Who has made it is first believed, to know by whose keys it is to be judged, and then seen. */
  #verifiedAnew(
    token: string,
    only: VerifiedToken['by'] | undefined,
  ): Verification | Promise<Verification> {
    if (!looksLikeJws(token)) return this.#opaque(token, only);
    const decoded = decodeJws(token, this.#ports.bounds().tokenBytes);
    if (!decoded.ok) return invalidToken(`the token: ${decoded.problem}`);
    const { iss } = decoded.claims;
    const issuer = typeof iss === 'string' ? this.#issuers.get(iss) : undefined;
    if (issuer === undefined) return verifyDeviceJwt(decoded, this.#ports);
    return only === 'device-jwt'
      ? invalidToken('an access token is no password of a device')
      : verifyAccessToken(token, decoded, issuer, this.#accessPorts);
  }

  get #accessPorts(): Parameters<typeof verifyAccessToken>[3] {
    const { clock, bounds } = this.#ports;
    return { clock, bounds, refreshKeys: (issuer) => this.#refresh.ask(issuer) };
  }

  /** It goes to the one issuer that can be asked; were there two, one of them would be shown what is the other's. */
  #opaque(
    token: string,
    only: VerifiedToken['by'] | undefined,
  ): Verification | Promise<Verification> {
    const asked = [...this.#issuers.values()].filter((each) => each.introspector !== undefined);
    const [issuer] = asked;
    return only === 'device-jwt' || issuer === undefined || asked.length > 1
      ? invalidToken('the token is no JWT, and whose it is cannot be told')
      : verifyAccessToken(token, undefined, issuer, this.#accessPorts);
  }

  /** What depends on the registry is looked at each time: standing, role, and whether the name is known at all. */
  #accepted({
    by,
    principal,
    expiresAt,
    stands,
    scopes,
    required,
    guest,
  }: VerifiedToken): TokenAccepted | TokenProblem {
    const missing = required.find((scope) => !scopes.includes(scope));
    if (missing !== undefined) {
      return {
        ok: false,
        code: 'forbidden',
        error: 'insufficient_scope',
        detail: `the token of ${principal} lacks the scope ${missing}`,
      };
    }
    const known = this.#ports.identity(principal);
    const identity = known ?? (guest && this.#guests.record(principal, guest));
    if (identity === undefined) return invalidToken(`${principal} is not registered`);
    const registered = known !== undefined;
    return { ok: true, by, principal, identity, registered, expiresAt, stands, scopes };
  }

  #refused(
    { code, error, detail }: TokenProblem,
    scheme: Scheme | undefined,
    scopes: readonly string[] = [],
  ): TokenVerdict {
    const isTheirs = code === 'unauthenticated' || code === 'forbidden';
    const said = isTheirs ? this.#challenge(scheme, error, scopes) : undefined;
    return { ok: false, code, detail, challenge: said };
  }

  #challenge(
    scheme: Scheme | undefined,
    error: TokenProblem['error'],
    scopes: readonly string[],
  ): string {
    return challenge({ scheme, error, realm: this.#ports.names().trustDomain, scopes });
  }
}

/** Whether whoever presents the token may be the one it was given to, as far as the connection shows it. */
function bindingProblem(
  { by, principal, confirmation }: VerifiedToken,
  scheme: Scheme,
  peer: TokenPeer,
): TokenProblem | undefined {
  const { certificate, proofKey } = confirmation;
  // RFC 9449 section 7.2: else a stolen token would be good for those who leave the proof away.
  if (proofKey !== undefined && scheme !== 'DPoP') {
    return invalidToken('the token is bound to a key, and comes without a proof of it');
  }
  if (proofKey === undefined && scheme === 'DPoP') {
    return invalidToken('the token is not bound to the key of a proof');
  }
  // RFC 8705 section 3.
  if (certificate !== undefined) {
    const shown = peer.certificate && hash('sha256', peer.certificate, 'base64url');
    if (shown !== certificate) return invalidToken('the token is bound to another certificate');
  }
  if (by === 'device-jwt' && peer.principal !== undefined && peer.principal !== principal) {
    return invalidToken('the JWT is of another device than the certificate of the connection');
  }
  return undefined;
}
