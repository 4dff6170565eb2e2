/**
 * The keys of the issuers whose tokens are taken: fetched from the configured URL on schedule, and, seldom, when a token
 * names one that is not known. The last good ones hold, across restarts too, until they are too old; then no token of
 * that issuer is good, and there is an alarm.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../../common/base/clock.ts';
import { errorCodeOf, messageOf, SallyportError } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { JwksConfig, TokenIssuerConfig } from '../../common/config/tokens-config.ts';
import type { TokenIssuer } from '../../common/ipc/credentials.ts';
import type { AuditLog } from '../audit-log/audit-log.ts';
import type { FetchOptions } from '../outside/fetch-bytes.ts';
import type { IssuerRecords } from './issuer-records.ts';
import { ExposedKeys, keyMaterial, readJwks } from './read-jwks.ts';
import type { PublicJwk } from './read-jwks.ts';

/** Between two looks at what is due; also how late the end of keys is noticed. */
const lookMs = 1_000;
/** After keys that could not be had. */
const retryMs = 30_000;
/**
 * The least between two fetches, whoever asks: anybody can write tokens that name a key, so without it the network had a
 * way to make this gateway ask another server as often as it likes.
 */
const demandMs = 30_000;
/** Of an issuer that is asked about each token instead of having keys: they never end. */
const never = Number.MAX_SAFE_INTEGER;

/** One issuer with keys, for metrics. */
export interface IssuerKeysState {
  readonly issuer: string;
  readonly current: boolean;
  readonly keys: number;
  /** Until when they are trusted, milliseconds; undefined as long as there are none. */
  readonly notAfter: number | undefined;
  /** Since the start: sets that came and were not taken, and sets that did not come. */
  readonly refused: number;
  readonly failed: number;
}

export interface IssuerKeysParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly records: IssuerRecords;
  readonly auditLog: Pick<AuditLog, 'append'>;
  readonly fetch: (url: string, options: FetchOptions) => Promise<Buffer>;
  /**
   * What `materials` says has changed. Resolves when it has been said to the workers.
   *
   * @param withdrawn keys that were trusted are so no more.
   */
  readonly onChange: (withdrawn: boolean) => Promise<unknown>;
}

interface Held {
  readonly keys: readonly PublicJwk[];
  readonly fetchedAt: number;
}

interface Issuer {
  readonly config: TokenIssuerConfig;
  readonly jwks: JwksConfig;
  held: Held | undefined;
  /** What workers know. */
  told: { readonly keys: readonly PublicJwk[]; readonly notAfter: number };
  /** By the monotonic clock. */
  dueAt: number;
  lastFetchAt: number;
  fetching: Promise<boolean> | undefined;
  /** Whether it has answered, or has had the time to. */
  tried: boolean;
  /** What was told last. */
  problem: string | undefined;
  alarmed: boolean;
  refused: number;
  failed: number;
}

export class IssuerKeys {
  readonly #parts: IssuerKeysParts;
  #configured: readonly TokenIssuerConfig[] = [];
  #issuers = new Map<string, Issuer>();
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: IssuerKeysParts) {
    this.#parts = parts;
  }

  /**
   * Those of the configuration that has just come into force, with what is known of them; every set is fetched again. Never
   * throws.
   */
  configure(configured: readonly TokenIssuerConfig[]): void {
    const before = this.#issuers;
    const issuers = new Map<string, Issuer>();
    for (const config of configured) {
      if (config.jwks === undefined) continue;
      issuers.set(config.name, this.#issuerOf(config, config.jwks, before.get(config.name)));
    }
    this.#configured = configured;
    this.#issuers = issuers;
    try {
      this.#parts.records.keepOnly([...issuers.keys()]);
    } catch (error) {
      const fields = { err: messageOf(error) };
      this.#parts.logger.error(fields, 'keys of former token issuers are not removed');
    }
  }

  start(): void {
    this.#timer = setInterval(() => void this.look(), lookMs);
    void this.look();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Fetches what is due, and looks whether keys are too old. Never throws; resolves when what it began is done. */
  async look(): Promise<void> {
    const now = this.#parts.clock.monotonic();
    const issuers = [...this.#issuers.values()];
    const told = issuers.map((issuer) => this.#bringForward(issuer));
    for (const issuer of issuers) this.#judge(issuer);
    const due = issuers.filter(({ fetching, dueAt }) => fetching === undefined && now >= dueAt);
    await Promise.all([...told, ...due.map((issuer) => this.#fetch(issuer))]);
  }

  /**
   * A token has named a key that is not known. Never throws.
   *
   * @returns whether the keys were fetched for it; false when they were a moment ago, or could not be had.
   */
  async refresh(name: string): Promise<boolean> {
    const issuer = this.#issuers.get(name);
    if (issuer === undefined) return false;
    if (issuer.fetching !== undefined) return issuer.fetching;
    if (this.#parts.clock.monotonic() < issuer.lastFetchAt + demandMs) return false;
    return this.#fetch(issuer);
  }

  /** For the snapshot: all that are configured. */
  materials(): TokenIssuer[] {
    return this.#configured.flatMap((config): TokenIssuer[] => {
      const { introspection } = config;
      const secret = introspection?.clientSecret;
      const issuer = this.#issuers.get(config.name);
      return [
        {
          name: config.name,
          issuer: config.issuer,
          audiences: config.audiences,
          algorithms: config.algorithms,
          binding: config.binding,
          strictType: config.strictType,
          keys: issuer?.held?.keys ?? [],
          keysNotAfter: issuer === undefined ? never : notAfterOf(issuer),
          introspection:
            introspection === undefined || secret === undefined
              ? undefined
              : { ...introspection, clientSecret: secret },
          principal: config.principal,
        },
      ];
    });
  }

  states(): IssuerKeysState[] {
    return [...this.#issuers.values()].map((issuer) => ({
      issuer: issuer.config.name,
      current: this.#isCurrent(issuer),
      keys: issuer.held?.keys.length ?? 0,
      notAfter: issuer.held === undefined ? undefined : notAfterOf(issuer),
      refused: issuer.refused,
      failed: issuer.failed,
    }));
  }

  #issuerOf(config: TokenIssuerConfig, jwks: JwksConfig, before: Issuer | undefined): Issuer {
    const held = this.#kept(config, jwks);
    return {
      config,
      jwks,
      held,
      // The snapshot, or the change of the configuration, says what it is now.
      told: { keys: held?.keys ?? [], notAfter: (held?.fetchedAt ?? 0) + jwks.maxAgeMs },
      dueAt: Number.NEGATIVE_INFINITY,
      lastFetchAt: Number.NEGATIVE_INFINITY,
      fetching: undefined,
      tried: false,
      problem: undefined,
      alarmed: before?.alarmed ?? false,
      refused: before?.refused ?? 0,
      failed: before?.failed ?? 0,
    };
  }

  /** From the last time, as today's configuration reads them. */
  #kept({ name, algorithms }: TokenIssuerConfig, { url }: JwksConfig): Held | undefined {
    const { records, clock, logger } = this.#parts;
    try {
      const kept = records.find(name);
      if (kept?.url !== url) return undefined;
      const { keys } = readJwks(Buffer.from(kept.keys), algorithms);
      // A clock that was set back must not make them hold for longer.
      return { keys, fetchedAt: Math.min(kept.fetchedAt, clock.now()) };
    } catch (error) {
      logger.warn({ issuer: name, err: messageOf(error) }, 'the keys that were kept are not used');
      return undefined;
    }
  }

  #fetch(issuer: Issuer): Promise<boolean> {
    const fetching = this.#fetchAndTake(issuer).finally(() => {
      issuer.fetching = undefined;
    });
    issuer.fetching = fetching;
    return fetching;
  }

  async #fetchAndTake(issuer: Issuer): Promise<boolean> {
    const { clock, fetch } = this.#parts;
    const { jwks, config } = issuer;
    issuer.lastFetchAt = clock.monotonic();
    let pauseMs = Math.min(jwks.everyMs, retryMs);
    try {
      const { url, maxBytes, timeoutMs, ca } = jwks;
      const accept = 'application/jwk-set+json, application/json';
      const text = await fetch(url, { maxBytes, timeoutMs, accept, ca });
      if (!this.#isInForce(issuer)) return false;
      const { keys, leftOut } = readJwks(text, config.algorithms);
      await this.#take(issuer, keys, leftOut);
      issuer.problem = undefined;
      pauseMs = jwks.everyMs;
      return true;
    } catch (error) {
      if (this.#isInForce(issuer)) await this.#failed(issuer, error);
      return false;
    } finally {
      issuer.tried = true;
      issuer.dueAt = clock.monotonic() + pauseMs;
      this.#judge(issuer);
    }
  }

  async #take(
    issuer: Issuer,
    keys: readonly PublicJwk[],
    leftOut: readonly string[],
  ): Promise<void> {
    const { clock, logger } = this.#parts;
    const { name } = issuer.config;
    const isNew = !isDeepStrictEqual(keys, issuer.held?.keys);
    if (isNew) {
      const kids = keys.map(({ kid }) => kid);
      logger.info({ issuer: name, kids, leftOut }, 'keys of a token issuer taken');
    }
    issuer.held = { keys, fetchedAt: clock.now() };
    // Workers first: neither a full disk nor a spoilt database keeps from them what is taken away.
    const told = this.#tell(issuer);
    this.#keep(issuer);
    await told;
  }

  /** Those that say nothing new are not told again until the time for which they hold has moved on. */
  async #tell(issuer: Issuer): Promise<void> {
    const { told, held, jwks } = issuer;
    const keys = held?.keys ?? [];
    const notAfter = notAfterOf(issuer);
    const isNew = !isDeepStrictEqual(keys, told.keys);
    if (!isNew && Math.abs(notAfter - told.notAfter) < jwks.everyMs / 2) return;
    const material = new Set(keys.map(keyMaterial));
    const withdrawn = told.keys.some((key) => !material.has(keyMaterial(key)));
    issuer.told = { keys, notAfter };
    try {
      await this.#parts.onChange(withdrawn);
    } catch (error) {
      const fields = { issuer: issuer.config.name, err: messageOf(error) };
      this.#parts.logger.error(fields, 'workers not told of the keys of a token issuer');
    }
  }

  #keep({ config, jwks, held }: Issuer): void {
    const { records, logger } = this.#parts;
    try {
      const keys = JSON.stringify({ keys: held?.keys ?? [] });
      records.keep(config.name, { url: jwks.url, keys, fetchedAt: held?.fetchedAt ?? 0 });
    } catch (error) {
      const fields = { issuer: config.name, err: messageOf(error) };
      logger.error(fields, 'the keys of a token issuer are not kept for the next start');
    }
  }

  /** Told once for each reason: a server that is down for a day is asked 2,880 times. */
  async #failed(issuer: Issuer, error: unknown): Promise<void> {
    const { logger } = this.#parts;
    const problem = messageOf(error);
    const isRefused = ['malformed', 'integrity', 'too-large'].includes(errorCodeOf(error));
    if (isRefused) issuer.refused += 1;
    else issuer.failed += 1;
    if (error instanceof ExposedKeys) await this.#withdraw(issuer, error);
    if (problem === issuer.problem) return;
    issuer.problem = problem;
    const hint = error instanceof SallyportError ? error.hint : undefined;
    const fields = { issuer: issuer.config.name, from: nameOfUrl(issuer.jwks.url), err: problem };
    const withHint = hint === undefined ? fields : { ...fields, hint };
    if (!isRefused) {
      logger.warn(withHint, 'the keys of a token issuer could not be fetched');
      return;
    }
    const stay = this.#isCurrent(issuer) ? 'the last good ones stay' : 'there are no others';
    logger.error(withHint, `the keys of a token issuer were refused; ${stay}`);
    this.#record('issuer-keys-refused', issuer, { from: fields.from, problem });
  }

  /** What anybody can sign with now is not trusted, although it once came in good order. */
  async #withdraw(issuer: Issuer, { material }: ExposedKeys): Promise<void> {
    const { held } = issuer;
    const sound = held?.keys.filter((key) => !material.has(keyMaterial(key))) ?? [];
    if (held === undefined || sound.length === held.keys.length) return;
    issuer.held = { ...held, keys: sound };
    const told = this.#tell(issuer);
    this.#keep(issuer);
    await told;
  }

  /** A clock that was set back must not make keys hold for longer. */
  async #bringForward(issuer: Issuer): Promise<void> {
    const now = this.#parts.clock.now();
    const { held } = issuer;
    if (held === undefined || held.fetchedAt <= now) return;
    issuer.held = { ...held, fetchedAt: now };
    await this.#tell(issuer);
  }

  #isInForce(issuer: Issuer): boolean {
    return this.#issuers.get(issuer.config.name) === issuer;
  }

  #isCurrent(issuer: Issuer): boolean {
    return (issuer.held?.keys ?? []).length > 0 && this.#parts.clock.now() < notAfterOf(issuer);
  }

  #judge(issuer: Issuer): void {
    if (!this.#isInForce(issuer)) return;
    const isCurrent = this.#isCurrent(issuer);
    // Nobody is alarmed about keys that are on their way.
    if (issuer.alarmed === !isCurrent || (!isCurrent && !issuer.tried)) return;
    issuer.alarmed = !isCurrent;
    const { name } = issuer.config;
    if (isCurrent)
      this.#parts.logger.info({ issuer: name }, 'the keys of a token issuer are current again');
    else {
      const fields = { issuer: name, fetchedAt: timeOf(issuer.held?.fetchedAt) };
      this.#parts.logger.error(
        fields,
        'the keys of a token issuer are too old or not there; none of its tokens is accepted',
      );
    }
    const detail = { fetchedAt: timeOf(issuer.held?.fetchedAt) };
    this.#record(isCurrent ? 'issuer-keys-current' : 'issuer-keys-stale', issuer, detail);
  }

  #record(
    action: string,
    { config: { name } }: Issuer,
    detail: Readonly<Record<string, string | undefined>>,
  ): void {
    const { auditLog, logger } = this.#parts;
    try {
      auditLog.append({ actor: 'system', action, target: name, detail });
    } catch (error) {
      const fields = { issuer: name, action, err: messageOf(error) };
      logger.error(fields, 'what became of the keys of a token issuer is not on record');
    }
  }
}

function notAfterOf({ held, jwks }: Pick<Issuer, 'held' | 'jwks'>): number {
  return held === undefined ? 0 : held.fetchedAt + jwks.maxAgeMs;
}

function timeOf(ms: number | undefined): string | undefined {
  return ms === undefined || ms === 0 ? undefined : new Date(ms).toISOString();
}

/** The query of a URL may hold a secret. */
function nameOfUrl(url: string): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}
