/** The servers of one route: which of them gets a request, who waits, and who is asked again. */
import type { Clock } from '../../../common/base/clock.ts';
import { messageOf } from '../../../common/base/errors.ts';
import { LogBudget } from '../../../common/base/log-budget.ts';
import type { Logger } from '../../../common/base/logger.ts';
import { printable } from '../../../common/base/principal.ts';
import type { UpstreamSettings } from '../../../common/ipc/snapshot.ts';
import type { Timers } from '../ports.ts';
import { Call } from './call.ts';
import type { CallOwner, CallServer, Outcome } from './call.ts';
import type { Loss } from './connection.ts';
import { addressOf, UpstreamTls } from './endpoint.ts';
import { HealthCheck } from './health-check.ts';
import type { Answerer, UpgradeAnswerer, UpstreamRequest } from './ports.ts';
import { targetOf } from './request-text.ts';
import { Server } from './server.ts';

/** Of one request, the first one included: a device does not wait for all servers of a fleet. */
const maxTries = 3;
const logLinesPerSecond = 1;
/** RFC 9110 §15.6: the server's own words for being unable. 501 and 505 are about the request. */
const failing: ReadonlySet<number> = new Set([500, 502, 503, 504]);

export interface UpstreamParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly count: (name: string, by?: number) => void;
  readonly timers: Timers;
  readonly random: () => number;
  /** Something is under way: `check` is to be called from time to time. */
  readonly wake: () => void;
}

/** Why no server takes a call now. */
type Refusal = 'full' | { readonly retryAfterMs: number | undefined };

export class Upstream implements CallOwner {
  readonly #parts: UpstreamParts;
  readonly #budget: LogBudget;
  readonly #outcomes: Readonly<Record<Outcome, string>>;
  readonly #retries: string;
  #settings: UpstreamSettings;
  #tls: UpstreamTls;
  #servers: Server[] = [];
  /** Left out of the settings, with requests still under way. */
  readonly #retired = new Set<Server>();
  readonly #checks = new Map<Server, HealthCheck>();
  /** In the order in which they came. */
  readonly #waiting = new Set<Call>();
  #active = 0;
  /** Of equals, another one is taken each time. */
  #turn = 0;
  #stopped = false;
  #onQuiet: (() => void) | undefined;

  constructor(parts: UpstreamParts, settings: UpstreamSettings) {
    const { route } = settings;
    const named = (outcome: Outcome): string =>
      `upstream_requests{route="${route}",outcome="${outcome}"}`;
    this.#parts = parts;
    this.#budget = new LogBudget(logLinesPerSecond, parts.clock);
    this.#outcomes = {
      answered: named('answered'),
      switched: named('switched'),
      truncated: named('truncated'),
      unavailable: named('unavailable'),
      busy: named('busy'),
      aborted: named('aborted'),
    };
    this.#retries = `upstream_retries{route="${route}"}`;
    this.#settings = settings;
    this.#tls = new UpstreamTls(settings.tls);
    this.#putServers();
  }

  /** Requests under way, waiting ones included. */
  get active(): number {
    return this.#active;
  }

  /** Nothing is left that `check` could be for. */
  get quiet(): boolean {
    return (
      this.#active === 0 &&
      this.#retired.size === 0 &&
      this.#servers.every(({ connections }) => connections === 0)
    );
  }

  /** What is under way to a server that stays is not touched. */
  update(settings: UpstreamSettings): void {
    this.#settings = settings;
    if (!this.#tls.isFor(settings.tls)) {
      // Whoever was trusted by the old ones may not be any more: connections are made anew.
      this.#tls = new UpstreamTls(settings.tls);
      this.#retireServers(() => true);
    }
    this.#putServers();
    this.#serveWaiting();
  }

  /** @throws SallyportError `malformed` */
  begin(
    routePath: string,
    request: UpstreamRequest,
    answerer: Answerer,
    opened: UpgradeAnswerer['opened'] | undefined,
  ): Call {
    const startedAt = this.#parts.clock.monotonic();
    const { totalMs, rewrite } = this.#settings;
    const target = targetOf(request.path, request.query, routePath, rewrite);
    const endsAt = startedAt + totalMs;
    const call = new Call(this, request, target, answerer, { startedAt, endsAt }, opened);
    call.rewrite = rewrite;
    this.#active += 1;
    const refusal = this.#stopped ? { retryAfterMs: undefined } : this.#dispatch(call);
    if (refusal !== undefined) {
      // The caller has not been given the call yet.
      queueMicrotask(() => this.#refuse(call, refusal));
    }
    this.#parts.wake();
    return call;
  }

  /** Ends what has taken too long. */
  check(now: number): void {
    for (const server of this.#servers) server.check(now);
    for (const server of this.#retired) {
      server.check(now);
      if (server.connections === 0) this.#retired.delete(server);
    }
    const waitedSince = now - this.#settings.connectMs;
    for (const call of this.#waiting) {
      if (call.startedAt > waitedSince) break;
      call.fail('busy', 'no connection became free in time');
    }
    this.#serveWaiting();
  }

  gauges(): Readonly<Record<string, number>> {
    const { route } = this.#settings;
    const now = this.#parts.clock.monotonic();
    const gauges: Record<string, number> = {
      [`upstream_waiting{route="${route}"}`]: this.#waiting.size,
    };
    for (const server of this.#servers) {
      const label = `{route="${route}",server="${server.origin}"}`;
      gauges[`upstream_connections${label}`] = server.connections;
      gauges[`upstream_in_flight${label}`] = server.outstanding;
      gauges[`upstream_breaker${label}`] = breakerValue[server.breaker.state(now)];
      gauges[`upstream_healthy${label}`] = server.healthy ? 1 : 0;
    }
    return gauges;
  }

  /** Takes nothing new; what waits is refused. Resolves when nothing is under way any more. */
  stop(): Promise<void> {
    this.#stopped = true;
    for (const check of this.#checks.values()) check.stop();
    this.#checks.clear();
    for (const call of this.#waiting) call.fail('unavailable', 'the upstream is taken away');
    this.#retireServers(() => true);
    if (this.#active === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onQuiet = resolve;
    });
  }

  /** Ends what is under way. */
  destroy(): void {
    for (const server of this.#retired) server.destroy();
  }

  lost(call: Call, loss: Loss): void {
    const { server } = call;
    if (server !== undefined) this.#blame(call, server, loss);
    const isStale = loss.kind === 'closed' && loss.wasKept && !loss.hadAnswer;
    if (this.#stopped || call.tries >= maxTries || !call.mayTryAgain(loss)) {
      call.fail('unavailable', loss.detail);
      return;
    }
    if (isStale) call.needsFresh = true;
    else if (server !== undefined) call.tried = [...call.tried, server];
    this.#parts.count(this.#retries);
    const refusal = this.#dispatch(call);
    if (refusal === 'full') this.#refuse(call, refusal);
    // The first reason says more than that nobody else is there.
    else if (refusal !== undefined) call.fail('unavailable', loss.detail, refusal.retryAfterMs);
  }

  answered(call: Call, status: number): void {
    const { server } = call;
    if (server === undefined) return;
    if (failing.has(status)) this.#failed(call, server, `answered ${status}`, true);
    else this.#succeeded(call, server);
  }

  thrown(error: unknown): void {
    const fields = { route: this.#settings.route, err: messageOf(error) };
    this.#parts.logger.error(fields, 'an answer could not be passed on');
  }

  over(call: Call, outcome: Outcome): void {
    this.#waiting.delete(call);
    this.#active -= 1;
    // Does nothing where something was learned.
    call.server?.breaker.abandoned(call);
    this.#parts.count(this.#outcomes[outcome]);
    if (this.#active === 0) this.#onQuiet?.();
  }

  /** @returns why not. */
  #dispatch(call: Call): Refusal | undefined {
    const picked = this.#pick(call);
    if (picked === 'full' && this.#waiting.size < this.#settings.waiting) {
      this.#waiting.add(call);
      return undefined;
    }
    if (!(picked instanceof Server)) return picked;
    this.#carry(picked, call);
    return undefined;
  }

  #refuse(call: Call, refusal: Refusal): void {
    if (refusal === 'full') call.fail('busy', 'too many requests wait for a connection');
    else call.fail('unavailable', 'no server is available', refusal.retryAfterMs);
  }

  #carry(server: Server, call: Call): void {
    server.breaker.begin(call, this.#parts.clock.monotonic());
    try {
      server.carry(call);
    } catch (error) {
      const detail = `no connection can be made: ${printable(messageOf(error))}`;
      const loss: Loss = {
        kind: 'connect',
        detail,
        wasKept: false,
        hadAnswer: false,
        isUnsent: true,
      };
      queueMicrotask(() => call.lost(loss));
    }
  }

  /** The one with the fewest requests for its weight, of those that are fit and have room. */
  #pick(call: Call): Server | Refusal {
    // What it would ask for may be outside of what the servers that there are now are to be asked for.
    if (call.rewrite !== this.#settings.rewrite) return { retryAfterMs: undefined };
    const servers = this.#servers;
    let best: Server | undefined;
    let bestLoad = Number.POSITIVE_INFINITY;
    let isFull = false;
    let retryAfterMs: number | undefined;
    const now = this.#parts.clock.monotonic();
    this.#turn += 1;
    for (let i = 0; i < servers.length; i += 1) {
      const server = servers[(this.#turn + i) % servers.length];
      if (server === undefined || !server.healthy || call.tried.includes(server)) continue;
      if (!server.breaker.admits(call.caller, now)) {
        const ms = server.breaker.opensInMs(call.caller, now);
        retryAfterMs = Math.min(retryAfterMs ?? ms, ms);
        continue;
      }
      const load = (server.outstanding + 1) / server.weight;
      if (!server.hasRoom()) isFull = true;
      else if (load < bestLoad) {
        best = server;
        bestLoad = load;
      }
    }
    return best ?? (isFull ? 'full' : { retryAfterMs });
  }

  #serveWaiting(): void {
    for (const call of this.#waiting) {
      const picked = this.#pick(call);
      if (picked === 'full') return;
      this.#waiting.delete(call);
      if (picked instanceof Server) this.#carry(picked, call);
      else this.#refuse(call, picked);
    }
  }

  #blame(call: Call, server: CallServer, { kind, detail, wasKept, hadAnswer }: Loss): void {
    // A request that comes when the server has just had enough of an idle connection says nothing about it, and one that took
    // its time may have been held up by the device.
    const saysNothing = kind === 'total' || (kind === 'closed' && wasKept && !hadAnswer);
    if (saysNothing) server.breaker.abandoned(call);
    else this.#failed(call, server, detail, kind !== 'connect');
  }

  #failed(call: Call, server: CallServer, detail: string, provoked: boolean): void {
    const { clock, logger } = this.#parts;
    const opens = server.breaker.failed(call, clock.monotonic(), provoked);
    const { route } = this.#settings;
    const fields = { route, server: server.origin, detail };
    if (opens)
      logger.warn(
        fields,
        'an upstream server is left out for a while: it has failed again and again',
      );
    else if (this.#budget.take()) {
      logger.warn({ ...fields, ...this.#budget.suppressed() }, 'an upstream server has failed');
    }
  }

  #succeeded(call: Call, server: CallServer): void {
    const wasOpen = server.breaker.succeeded(call);
    if (!wasOpen) return;
    const fields = { route: this.#settings.route, server: server.origin };
    this.#parts.logger.info(fields, 'an upstream server answers again');
  }

  /** Makes the servers those of the settings. */
  #putServers(): void {
    const weights = new Map<string, number>();
    for (const { origin, weight } of this.#settings.servers) {
      weights.set(origin, (weights.get(origin) ?? 0) + weight);
    }
    this.#retireServers(({ origin }) => !weights.has(origin));
    const known = new Map(this.#servers.map((server) => [server.origin, server]));
    this.#servers = [...weights].map(([origin, weight]) => {
      const server = known.get(origin) ?? this.#newServer(origin, weight);
      server.weight = weight;
      return server;
    });
    this.#putChecks();
  }

  #newServer(origin: string, weight: number): Server {
    return new Server(addressOf(origin), this.#tls, weight, {
      clock: this.#parts.clock,
      settings: () => this.#settings,
      freed: () => this.#serveWaiting(),
    });
  }

  #retireServers(which: (server: Server) => boolean): void {
    const retiring = this.#servers.filter(which);
    if (retiring.length === 0) return;
    this.#servers = this.#servers.filter((server) => !retiring.includes(server));
    for (const server of retiring) {
      this.#checks.get(server)?.stop();
      this.#checks.delete(server);
      this.#retired.add(server);
      server.retire();
    }
    this.#parts.wake();
  }

  #putChecks(): void {
    const { health } = this.#settings;
    for (const server of this.#servers) {
      const running = this.#checks.get(server);
      if (running !== undefined && isSame(running.settings, health)) continue;
      running?.stop();
      this.#checks.delete(server);
      server.healthy = true;
      if (health === undefined) continue;
      const { clock, timers, random } = this.#parts;
      const check = new HealthCheck(health, {
        clock,
        timers,
        random,
        authority: server.authority,
        endpoint: () => server.endpoint(),
        found: (detail) => this.#examined(server, detail),
      });
      this.#checks.set(server, check);
    }
  }

  #examined(server: Server, detail: string | undefined): void {
    const isWell = detail === undefined;
    if (server.healthy === isWell) return;
    server.healthy = isWell;
    const fields = { route: this.#settings.route, server: server.origin };
    const { logger } = this.#parts;
    if (isWell) logger.info(fields, 'an upstream server is well again');
    else logger.warn({ ...fields, detail }, 'an upstream server is not well: it is left out');
    this.#serveWaiting();
  }
}

const breakerValue = { closed: 0, 'half-open': 1, open: 2 } as const;

function isSame(a: UpstreamSettings['health'], b: UpstreamSettings['health']): boolean {
  return a?.path === b?.path && a?.everyMs === b?.everyMs && a?.timeoutMs === b?.timeoutMs;
}
