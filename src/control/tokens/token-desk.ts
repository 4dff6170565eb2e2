/**
 * The token endpoint: client credentials (RFC 6749 section 4.4) for services, and nothing else. What comes from a worker is
 * a claim; who asks is proven here again, and what is signed here says no more than the registry does now.
 */
import { randomUUID } from 'node:crypto';
import { SignJWT } from 'jose';
import type { Clock } from '../../common/base/clock.ts';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { LogBudget } from '../../common/base/log-budget.ts';
import type { Logger } from '../../common/base/logger.ts';
import { principalParts, printable } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { TokenAnswer, TokenCall } from '../../common/ipc/control-calls.ts';
import type { AuditLog } from '../audit-log/audit-log.ts';
import type { Registry } from '../registry/registry.ts';
import type { AssertionIds } from './assertion-ids.ts';
import { assertedClient, assertionType } from './client-assertion.ts';
import type { ClientAssertionParts } from './client-assertion.ts';
import { certifiedClient } from './client-certificate.ts';
import type { CertifiedClient, ClientCertificateParts } from './client-certificate.ts';
import { OAuthError } from './oauth-error.ts';
import type { SigningKey } from './signing-keys.ts';
import { errorAnswer, tokenAnswer } from './token-answers.ts';
import { TokenBudget } from './token-budget.ts';

const dayMs = 86_400_000;
const logLinesPerSecond = 10;
const schemePattern = /^[A-Za-z][A-Za-z0-9-]{0,31}$/;
/** Of the form; a worker takes no more. */
const mostParameters = 32;
const mostParameterCharacters = 16 * 1024;

/** As it is configured now. */
export interface TokenEndpoint {
  readonly issuer: string;
  readonly audience: string;
  readonly lifeMs: number;
  /** Of one service. */
  readonly perMinute: number;
}

export interface TokenDeskParts {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Undefined: there is none. */
  readonly endpoint: () => TokenEndpoint | undefined;
  /** The one that signs now. */
  readonly key: () => SigningKey;
  readonly registry: Pick<Registry, 'get'>;
  readonly certificates: ClientCertificateParts;
  readonly assertions: ClientAssertionParts;
  readonly assertionIds: AssertionIds;
  readonly auditLog: Pick<AuditLog, 'append'>;
}

interface Client {
  readonly name: PrincipalName;
  /** For the log: what it has proven itself with. */
  readonly by: string;
  /** To which the token is bound (RFC 8705 section 3). */
  readonly certificate: CertifiedClient | undefined;
  /** Uses up what may be used once; called when nothing else is in the way. @throws OAuthError. */
  readonly use: () => void;
}

export class TokenDesk {
  readonly #parts: TokenDeskParts;
  readonly #budget: TokenBudget;
  readonly #logBudget: LogBudget;
  readonly #counts = new Map<string, number>();
  /** Service → the day of its last line in the audit log. */
  readonly #audited = new Map<PrincipalName, number>();

  constructor(parts: TokenDeskParts) {
    this.#parts = parts;
    this.#budget = new TokenBudget(parts.clock);
    this.#logBudget = new LogBudget(logLinesPerSecond, parts.clock);
  }

  /** Since control started: `granted`, or an error of OAuth. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  /** @throws SallyportError `not-found` when there is no token endpoint, `malformed` when it is no call; a fault of our own. */
  async answer(slot: number, fields: Readonly<Record<string, unknown>>): Promise<TokenAnswer> {
    const endpoint = this.#parts.endpoint();
    if (endpoint === undefined) throw new SallyportError('not-found', 'no token endpoint');
    const call = readCall(fields);
    try {
      const answer = await this.#grant(endpoint, call);
      this.#count('granted');
      return answer;
    } catch (error) {
      if (!(error instanceof OAuthError)) throw error;
      this.#count(error.error);
      if (this.#logBudget.take()) {
        const client = printable(call.parameters.get('client_id') ?? '');
        const { error: refused, message: detail } = error;
        const about = { worker: slot, source: call.address, client, refused, detail };
        this.#parts.logger.info({ ...about, ...this.#logBudget.suppressed() }, 'no token');
      }
      return errorAnswer(error, call.scheme);
    }
  }

  async #grant(endpoint: TokenEndpoint, call: ReadCall): Promise<TokenAnswer> {
    const { parameters } = call;
    const grant = parameters.get('grant_type');
    if (grant === undefined) throw new OAuthError('invalid_request', 'no grant_type');
    if (grant !== 'client_credentials') {
      throw new OAuthError('unsupported_grant_type', `grant_type ${printable(grant)}`);
    }
    const client = await this.#authenticate(endpoint, call);
    const { name } = client;
    const { kind, id } = principalParts(name);
    if (kind !== 'service') throw new OAuthError('unauthorized_client', `${name} is no service`);
    const role = this.#roleOf(name);
    assertScope(parameters.get('scope'), role);
    const resource = parameters.get('resource');
    if (resource !== undefined && resource !== endpoint.audience) {
      throw new OAuthError('invalid_target', `resource ${printable(resource)}`);
    }
    const waitMs = this.#budget.waitMs(name, endpoint.perMinute);
    if (waitMs > 0) {
      throw new OAuthError('slow_down', `${name} asks too often`, Math.ceil(waitMs / 1_000));
    }
    client.use();
    this.#budget.charge(name, endpoint.perMinute);
    const { token, seconds } = await this.#sign(endpoint, id, role, client.certificate);
    // Whoever verifies it elsewhere would never hear that it was suspended, or given another role, while it was signed.
    if (this.#roleOf(name) !== role) {
      throw new OAuthError('invalid_scope', `${name} has another role now`);
    }
    this.#audit(client, call);
    return tokenAnswer({ token, seconds, scope: role });
  }

  /** Section 2.3: by one way, not by several. */
  async #authenticate(endpoint: TokenEndpoint, call: ReadCall): Promise<Client> {
    const { parameters, scheme, certificate } = call;
    if (scheme !== undefined) throw new OAuthError('invalid_client', `by Authorization: ${scheme}`);
    if (parameters.has('client_secret')) {
      throw new OAuthError('invalid_client', 'by a secret: there are none');
    }
    const certified =
      certificate === undefined
        ? undefined
        : certifiedClient(certificate, this.#parts.certificates);
    const assertion = parameters.get('client_assertion');
    if (assertion !== undefined) return this.#byAssertion(endpoint, call, assertion, certified);
    if (certified === undefined) throw new OAuthError('invalid_client', 'nothing is proven');
    // RFC 8705 section 2: it names itself all the same.
    const clientId = parameters.get('client_id');
    if (clientId === undefined) throw new OAuthError('invalid_request', 'no client_id');
    if (clientId !== principalParts(certified.name).id) {
      throw new OAuthError('invalid_client', `the certificate is that of ${certified.name}`);
    }
    const by = `certificate ${certified.serial}`;
    return { name: certified.name, by, certificate: certified, use: () => {} };
  }

  async #byAssertion(
    { issuer }: TokenEndpoint,
    { parameters }: ReadCall,
    assertion: string,
    certificate: CertifiedClient | undefined,
  ): Promise<Client> {
    if (parameters.get('client_assertion_type') !== assertionType) {
      throw new OAuthError('invalid_request', 'client_assertion_type');
    }
    const { assertions, assertionIds, clock } = this.#parts;
    const audiences = [issuer, `${issuer}/oauth2/token`];
    const clientId = parameters.get('client_id');
    const asserted = await assertedClient(assertion, clientId, audiences, assertions);
    const { name, keyId, assertionId, expiresAt } = asserted;
    if (certificate !== undefined && certificate.name !== name) {
      throw new OAuthError('invalid_client', `the certificate is that of ${certificate.name}`);
    }
    const use = (): void => {
      if (!assertionIds.use(name, assertionId, expiresAt, clock.now())) {
        throw new OAuthError('invalid_client', 'the assertion was used before');
      }
    };
    return { name, by: `key ${keyId}`, certificate, use };
  }

  #roleOf(name: PrincipalName): string {
    const identity = this.#parts.registry.get(name);
    if (identity === undefined) throw new OAuthError('invalid_client', `${name} is not known`);
    if (identity.standing !== 'active') {
      throw new OAuthError('unauthorized_client', `${name} is ${identity.standing}`);
    }
    return identity.role;
  }

  /** RFC 9068 section 2. */
  async #sign(
    { issuer, audience, lifeMs }: TokenEndpoint,
    id: string,
    role: string,
    certificate: CertifiedClient | undefined,
  ): Promise<{ readonly token: string; readonly seconds: number }> {
    const { clock, key } = this.#parts;
    const now = clock.now();
    const issuedAt = Math.floor(now / 1_000);
    // No longer than what it was given for.
    const endsMs = Math.min(now + lifeMs, certificate?.notAfter ?? Number.POSITIVE_INFINITY);
    const expires = Math.floor(endsMs / 1_000);
    const { kid, privateKey } = key();
    const bound = certificate === undefined ? {} : { cnf: { 'x5t#S256': certificate.thumbprint } };
    const token = await new SignJWT({ client_id: id, scope: role, ...bound })
      .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid })
      .setIssuer(issuer)
      .setSubject(id)
      .setAudience(audience)
      .setIssuedAt(issuedAt)
      .setExpirationTime(expires)
      .setJti(randomUUID())
      .sign(privateKey);
    return { token, seconds: expires - issuedAt };
  }

  #count(outcome: string): void {
    this.#counts.set(outcome, (this.#counts.get(outcome) ?? 0) + 1);
  }

  /** One a day of each service: that it uses tokens, and with what. Each line waits for the disk. */
  #audit({ name, by, certificate }: Client, { address }: ReadCall): void {
    const { auditLog, clock, logger } = this.#parts;
    const day = Math.floor(clock.now() / dayMs);
    if (this.#audited.get(name) === day) return;
    this.#audited.set(name, day);
    const detail = { by, bound: certificate !== undefined, source: address };
    try {
      auditLog.append({ actor: name, action: 'token-granted', target: name, detail });
    } catch (error) {
      logger.error(
        { principal: name, err: messageOf(error) },
        'the first token of a service today is not on record',
      );
    }
  }
}

interface ReadCall {
  readonly address: string;
  readonly certificate: Buffer | undefined;
  readonly scheme: string | undefined;
  readonly parameters: ReadonlyMap<string, string>;
}

/** A worker's word. @throws SallyportError `malformed`. */
function readCall(fields: Readonly<Record<string, unknown>>): ReadCall {
  const { address, certificate, scheme, parameters } = fields as Readonly<
    Partial<Record<keyof TokenCall, unknown>> // nothing is said of their types
  >;
  if (typeof address !== 'string' || address.length > 64) throw noCall('address');
  if (certificate !== undefined && typeof certificate !== 'string') throw noCall('certificate');
  if (scheme !== undefined && !(typeof scheme === 'string' && schemePattern.test(scheme))) {
    throw noCall('scheme');
  }
  if (typeof parameters !== 'object' || parameters === null) throw noCall('parameters');
  const entries = Object.entries(parameters);
  if (entries.length > mostParameters) throw noCall('too many parameters');
  const read = new Map<string, string>();
  for (const [name, value] of entries) {
    if (typeof value !== 'string' || value.length > mostParameterCharacters) throw noCall(name);
    read.set(name, value);
  }
  const der = certificate === undefined ? undefined : Buffer.from(certificate, 'base64');
  return { address, certificate: der, scheme, parameters: read };
}

/** The role is all that there is to ask for (RFC 6749 section 3.3). */
function assertScope(scope: string | undefined, role: string): void {
  if (scope === undefined || scope.split(' ').every((each) => each === role)) return;
  throw new OAuthError('invalid_scope', `scope ${printable(scope)}`);
}

function noCall(what: string): SallyportError {
  return new SallyportError('malformed', `no request for a token: ${printable(what)}`);
}
