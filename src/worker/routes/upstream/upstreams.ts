/** The upstreams of all proxied routes. A route that has none gets no traffic. */
import type { UpstreamSettings } from '../../../common/ipc/snapshot.ts';
import type { Timers } from '../ports.ts';
import { systemTimers } from '../timers.ts';
import type {
  Answerer,
  UpgradeAnswerer,
  UpgradeCall,
  UpgradeRequest,
  UpstreamCall,
  UpstreamPort,
  UpstreamRequest,
  UpstreamsParts,
} from './ports.ts';
import { Upstream } from './upstream.ts';

/** How exact times are kept; one timer for all is cheaper than one for each request. */
const checkEveryMs = 50;

type Route = Parameters<UpstreamPort['request']>[0];

export class Upstreams implements UpstreamPort {
  readonly #parts: UpstreamsParts;
  readonly #timers: Timers;
  readonly #upstreams = new Map<string, Upstream>();
  /** Of routes that are gone, with requests still under way. */
  readonly #leaving = new Set<Upstream>();
  #cancelCheck: (() => void) | undefined;
  #draining = false;

  constructor(parts: UpstreamsParts) {
    this.#parts = parts;
    this.#timers = parts.timers ?? systemTimers;
  }

  /** The upstreams that there are from now on. What is under way to one that is gone comes to its end. */
  update(upstreams: readonly UpstreamSettings[]): void {
    if (this.#draining) return;
    const named = new Map(upstreams.map((settings) => [settings.route, settings]));
    for (const [route, upstream] of this.#upstreams) {
      if (named.has(route)) continue;
      this.#upstreams.delete(route);
      this.#leave(upstream);
    }
    for (const [route, settings] of named) {
      const known = this.#upstreams.get(route);
      if (known === undefined) this.#upstreams.set(route, this.#make(settings));
      else known.update(settings);
    }
  }

  request(route: Route, request: UpstreamRequest, answerer: Answerer): UpstreamCall {
    const upstream = this.#upstreams.get(route.name);
    if (upstream === undefined) return this.#refused(answerer);
    return upstream.begin(route.path, request, answerer, undefined);
  }

  upgrade(route: Route, request: UpgradeRequest, answerer: UpgradeAnswerer): UpgradeCall {
    const upstream = this.#upstreams.get(route.name);
    if (upstream === undefined) return this.#refused(answerer);
    return upstream.begin(
      route.path,
      { ...request, method: 'GET', body: undefined },
      {
        head: (head) => answerer.head(head),
        data: (piece) => answerer.data(piece),
        end: (last) => answerer.end(last),
        failed: (failure) => answerer.failed(failure),
        drained: () => {},
      },
      (head, stream) => answerer.opened(head, stream),
    );
  }

  gauges(): Readonly<Record<string, number>> {
    const gauges: Record<string, number> = {};
    for (const upstream of this.#upstreams.values()) Object.assign(gauges, upstream.gauges());
    return gauges;
  }

  /** Takes nothing new, waits so long at most for what is under way, and ends all connections, tunnels included. */
  async drain(limitMs: number): Promise<void> {
    this.#draining = true;
    for (const upstream of this.#upstreams.values()) this.#leave(upstream);
    this.#upstreams.clear();
    const leaving = [...this.#leaving];
    let cancel: (() => void) | undefined;
    const late = new Promise<void>((resolve) => {
      cancel = this.#timers.after(limitMs, resolve);
    });
    await Promise.race([Promise.all(leaving.map((upstream) => upstream.stop())), late]);
    cancel?.();
    for (const upstream of leaving) upstream.destroy();
    this.#cancelCheck?.();
    this.#cancelCheck = undefined;
  }

  #make(settings: UpstreamSettings): Upstream {
    const { clock, logger, count, random = Math.random } = this.#parts;
    return new Upstream(
      { clock, logger, count, random, timers: this.#timers, wake: () => this.#wake() },
      settings,
    );
  }

  #leave(upstream: Upstream): void {
    this.#leaving.add(upstream);
    // Who waits for it is told by the calls themselves.
    void upstream.stop();
    this.#wake();
  }

  #refused(answerer: Pick<Answerer, 'failed'>): UpstreamCall {
    let isOver = false;
    queueMicrotask(() => {
      if (isOver) return;
      const detail = this.#draining ? 'the gateway stops' : 'the route has no upstream';
      const about = { detail, server: undefined, sent: false, begun: false };
      answerer.failed({ code: 'unavailable', ...about, retryAfterMs: undefined });
    });
    return {
      write: () => true,
      end: () => {},
      resume: () => {},
      abort: () => {
        isOver = true;
      },
    };
  }

  #wake(): void {
    if (this.#cancelCheck !== undefined) return;
    this.#cancelCheck = this.#timers.after(checkEveryMs, () => this.#check());
  }

  #check(): void {
    this.#cancelCheck = undefined;
    const now = this.#parts.clock.monotonic();
    let isQuiet = true;
    for (const upstream of this.#upstreams.values()) {
      upstream.check(now);
      isQuiet &&= upstream.quiet;
    }
    for (const upstream of this.#leaving) {
      upstream.check(now);
      if (upstream.quiet) this.#leaving.delete(upstream);
      else isQuiet = false;
    }
    if (!isQuiet) this.#wake();
  }
}
