/** Everything of tokens that is control's: keys of issuers, keys of its own, the token endpoint; fitted together. */
import type { DatabaseSync } from 'node:sqlite';
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../common/base/clock.ts';
import { messageOf, SallyportError } from '../common/base/errors.ts';
import type { Logger } from '../common/base/logger.ts';
import type { PrincipalName } from '../common/base/principal.ts';
import { ownUrl } from '../common/config/own-url.ts';
import type { TokensConfig } from '../common/config/tokens-config.ts';
import type { IssuerKeysAnswer, TokenCall } from '../common/ipc/control-calls.ts';
import type {
  AssertionKeys,
  CredentialMaterial,
  RegisteredKey,
  TokenIssuer,
} from '../common/ipc/credentials.ts';
import type { SnapshotChange, TrustAnchor } from '../common/ipc/snapshot.ts';
import type { AuditLog } from './audit-log/audit-log.ts';
import type { FetchOptions } from './outside/fetch-bytes.ts';
import type { Registry } from './registry/registry.ts';
import { additionMs } from './snapshot/publisher.ts';
import type { MasterKey } from './store/master-key.ts';
import { AssertionIds } from './tokens/assertion-ids.ts';
import { IssuerKeys } from './tokens/issuer-keys.ts';
import type { IssuerKeysState } from './tokens/issuer-keys.ts';
import { IssuerRecords } from './tokens/issuer-records.ts';
import { SigningKeys } from './tokens/signing-keys.ts';
import { TokenDesk } from './tokens/token-desk.ts';
import type { TokenEndpoint } from './tokens/token-desk.ts';
import type { CallFields, CallHandlers } from './worker-calls.ts';

/** A token lives for an hour at most; the rest is for clocks, and for those who keep the keys for a while. */
const tokenKeysKeptMs = 2 * 3_600_000;
/** Assertions live for a minute. Workers have the key, so one signs for a day at most. */
const assertionKeysKeptMs = 3_600_000;
const assertionRotationMs = 86_400_000;
/** Calls of one worker: as many as control can verify and sign beside its other work. */
const tokensPerSecond = 50;
const tokensAtOnce = 16;
/** Of those, from whoever has proven nothing to the worker. */
const strangersPerSecond = 20;
const strangersAtOnce = 4;
/** A fetch is no more often than twice a minute of each issuer; what is asked in between costs a look at the clock. */
const keysPerSecond = 20;
/** For as long as a fetch may take, every token that names an unknown key may ask. */
const keysAtOnce = 64;
/** The name of the gateway's own token endpoint among the issuers. */
const ownName = 'own';

export interface TokenServiceParts {
  readonly database: DatabaseSync;
  readonly masterKey: MasterKey;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Pick<Registry, 'get' | 'certificate'>;
  readonly auditLog: Pick<AuditLog, 'append'>;
  readonly fetch: (url: string, options: FetchOptions) => Promise<Buffer>;
  /** The configuration in force. */
  readonly tokens: () => TokensConfig;
  /** Whether a route wants signed assertions of who is asking. */
  readonly wantsAssertions: () => boolean;
  readonly trustDomain: string;
  /** The first of them is how the gateway calls itself. */
  readonly serverNames: () => readonly string[];
  /** At which services reach it; undefined while it is not known or not there. */
  readonly httpsPort: () => number | undefined;
  readonly anchors: () => readonly TrustAnchor[];
  /** By a revocation list of another authority. */
  readonly isRevoked: (anchor: string, serial: string) => boolean;
  /** Registered keys of a service. */
  readonly keysOf: (name: PrincipalName) => readonly RegisteredKey[];
  /** Resolves when workers know. The first snapshot has all of it: before it, nothing is to be done. */
  readonly publish: (changes: readonly SnapshotChange[], limitMs?: number) => Promise<unknown>;
}

export class TokenServices {
  readonly #parts: TokenServiceParts;
  readonly #issuers: IssuerKeys;
  readonly #tokenKeys: SigningKeys;
  readonly #assertionKeys: SigningKeys;
  readonly #desk: TokenDesk;
  /** What workers were told last. */
  #told: CredentialMaterial | undefined;

  constructor(parts: TokenServiceParts) {
    const { database, masterKey, clock, logger, registry, auditLog, tokens } = parts;
    this.#parts = parts;
    this.#issuers = new IssuerKeys({
      clock,
      logger,
      records: new IssuerRecords(database),
      auditLog,
      fetch: parts.fetch,
      onChange: (withdrawn) => this.#publish(withdrawn),
    });
    this.#tokenKeys = new SigningKeys({
      database,
      masterKey,
      clock,
      logger,
      purpose: 'access-tokens',
      rotationMs: () => tokens().keyRotationMs,
      keptMs: tokenKeysKeptMs,
    });
    this.#assertionKeys = new SigningKeys({
      database,
      masterKey,
      clock,
      logger,
      purpose: 'identity-assertions',
      rotationMs: () => Math.min(tokens().keyRotationMs, assertionRotationMs),
      keptMs: assertionKeysKeptMs,
    });
    this.#desk = new TokenDesk({
      clock,
      logger,
      endpoint: () => this.#endpoint(),
      key: () => this.#tokenKeys.current,
      registry,
      certificates: {
        clock,
        registry,
        anchors: parts.anchors,
        trustDomain: parts.trustDomain,
        isRevoked: parts.isRevoked,
      },
      assertions: { clock, keysOf: parts.keysOf },
      assertionIds: new AssertionIds(database),
      auditLog,
    });
  }

  /** What workers are told from now on. */
  tell(): CredentialMaterial {
    this.#told = this.#material();
    return this.#told;
  }

  get issuerStates(): readonly IssuerKeysState[] {
    return this.#issuers.states();
  }

  /** What became of requests for tokens since control started. */
  get counts(): ReadonlyMap<string, number> {
    return this.#desk.counts;
  }

  /** What workers ask for. */
  get handlers(): Pick<CallHandlers, TokenCall['what'] | 'issuer-keys'> {
    return {
      token: {
        perSecond: tokensPerSecond,
        atOnce: tokensAtOnce,
        answer: (slot, call) => this.#desk.answer(slot, call),
      },
      'stranger-token': {
        perSecond: strangersPerSecond,
        atOnce: strangersAtOnce,
        answer: (slot, call) => this.#desk.answer(slot, { ...call, certificate: undefined }),
      },
      'issuer-keys': {
        perSecond: keysPerSecond,
        atOnce: keysAtOnce,
        answer: (_slot, call) => this.#answerKeys(call),
      },
    };
  }

  /** Before the first snapshot, with what was kept. Never throws: what cannot be made is tried again. */
  prepare(): void {
    this.#issuers.configure(this.#parts.tokens().issuers);
    this.#tend();
  }

  /**
   * Another configuration is in force: the issuers that it drops are forgotten, keys that it needs anew are fetched later.
   * Never rejects.
   *
   * @returns when workers know what it says of tokens.
   */
  async configure(): Promise<void> {
    this.#issuers.configure(this.#parts.tokens().issuers);
    this.#tend();
    await this.#publishIfOther(true);
  }

  start(): void {
    this.#issuers.start();
  }

  stop(): void {
    this.#issuers.stop();
  }

  /** Renews keys that are due: to be called again and again, and when listeners have their ports. Never rejects. */
  async check(): Promise<void> {
    this.#tend();
    await this.#publishIfOther(false);
  }

  async #publishIfOther(withdrawn: boolean): Promise<void> {
    if (isDeepStrictEqual(this.#told, this.#material())) return;
    try {
      await this.#publish(withdrawn);
    } catch (error) {
      const fields = { err: messageOf(error) };
      this.#parts.logger.error(fields, 'workers not told whose tokens are accepted');
    }
  }

  #material(): CredentialMaterial {
    const endpoint = this.#endpoint();
    return {
      issuers: [...this.#issuers.materials(), ...this.#own(endpoint)],
      tokenEndpoint:
        endpoint === undefined
          ? undefined
          : { issuer: endpoint.issuer, audience: endpoint.audience, lifeMs: endpoint.lifeMs },
      assertions: this.#assertions(endpoint),
    };
  }

  #tend(): void {
    try {
      if (this.#parts.tokens().endpoint !== false) this.#tokenKeys.tend();
      if (this.#parts.wantsAssertions()) this.#assertionKeys.tend();
    } catch (error) {
      const fields = { err: messageOf(error) };
      this.#parts.logger.error(fields, 'keys that sign tokens are not renewed; the last ones stay');
    }
  }

  /** A worker that is late with what takes nothing from anybody has time. */
  async #publish(withdrawn: boolean): Promise<void> {
    const limitMs = withdrawn ? undefined : additionMs;
    await this.#parts.publish([{ type: 'credentials', credentials: this.tell() }], limitMs);
  }

  #endpoint(): TokenEndpoint | undefined {
    const { endpoint } = this.#parts.tokens();
    if (endpoint === false) return undefined;
    const issuer = endpoint.issuer ?? this.#baseUrl();
    if (issuer === undefined) return undefined;
    const { lifeMs, perMinute, audience = issuer } = endpoint;
    return { issuer, audience, lifeMs, perMinute };
  }

  #baseUrl(): string | undefined {
    return ownUrl(this.#parts.serverNames(), this.#parts.httpsPort());
  }

  #own(endpoint: TokenEndpoint | undefined): TokenIssuer[] {
    if (endpoint === undefined) return [];
    return [
      {
        name: ownName,
        issuer: endpoint.issuer,
        audiences: [endpoint.audience],
        algorithms: ['ES256'],
        // Those that a certificate was shown for are bound to it, and say so.
        binding: 'bearer',
        strictType: true,
        keys: this.#tokenKeys.publicKeys,
        keysNotAfter: Number.MAX_SAFE_INTEGER,
        introspection: undefined,
        principal: {
          kind: 'service',
          claim: 'sub',
          prefix: '',
          register: 'known',
          role: '',
          scopes: [],
        },
      },
    ];
  }

  #assertions(endpoint: TokenEndpoint | undefined): AssertionKeys | undefined {
    const keys = this.#assertionKeys.publicKeys;
    if (!this.#parts.wantsAssertions() || keys.length === 0) return undefined;
    const { kid, privateKey } = this.#assertionKeys.current;
    const [name = ''] = this.#parts.serverNames();
    return {
      kid,
      privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }),
      keys,
      issuer: endpoint?.issuer ?? this.#baseUrl() ?? `https://${name}`,
    };
  }

  async #answerKeys({ issuer }: CallFields): Promise<IssuerKeysAnswer> {
    if (typeof issuer !== 'string') throw new SallyportError('malformed', 'no name of an issuer');
    return { fetched: await this.#issuers.refresh(issuer) };
  }
}
