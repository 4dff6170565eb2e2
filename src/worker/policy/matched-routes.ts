/**
 * The routes that a topic matches, and what they ask of a message. Topics that match the same routes share one
 * object, and with it the rate buckets: a hundred thousand devices on one route cost one list.
 */
import {
  coversLevels,
  matchesLevels,
  overlapsLevels,
  splitLevels,
} from '../../common/base/topic-filter.ts';
import { compilePayloadSchema } from '../../common/config/payload-schema.ts';
import type { PayloadCheck } from '../../common/config/payload-schema.ts';
import type { BreakerDocument } from '../../common/config/breaker-document.ts';
import type { PolicyDocument, RouteDocument } from '../../common/config/policy-document.ts';
import { authenticationMethods } from '../../common/config/proxied-route.ts';
import type { AuthenticationMethod, IntegrityDocument } from '../../common/config/proxied-route.ts';
import type { PrincipalKind } from '../../common/base/principal.ts';
import type { RateBucket } from './ports.ts';

export interface CompiledRoute {
  readonly name: string;
  readonly payload: PayloadCheck | undefined;
  readonly breaker: BreakerDocument | undefined;
}

export interface MatchedRoutes {
  readonly routes: readonly CompiledRoute[];
  /** Of the identity and of each route; frozen, as `RateBudget` wants it. */
  readonly buckets: Readonly<Record<PrincipalKind, readonly RateBucket[]>>;
  /** The smallest that a matching route allows. */
  readonly payloadBytes: number;
  /** What every matching route takes; with none that matches, certificates. */
  readonly authenticate: ReadonlySet<AuthenticationMethod>;
  /** What those that say something of signatures agree on; undefined = none does. */
  readonly integrity: IntegrityDocument | undefined;
}

interface Candidate extends CompiledRoute {
  readonly document: RouteDocument;
  readonly levels: readonly string[];
}

/** Combinations remembered; more only cost the time to make them again. */
const maxRemembered = 1_000;

export class RouteMatcher {
  readonly #document: PolicyDocument;
  readonly #candidates: readonly Candidate[];
  readonly #remembered = new Map<string, MatchedRoutes>();

  /** @throws SallyportError `invalid-config` when a schema is unsafe or wrong. */
  constructor(document: PolicyDocument) {
    this.#document = document;
    this.#candidates = document.routes.map((route) => ({
      document: route,
      levels: splitLevels(route.match),
      name: route.name,
      payload:
        route.schema === undefined
          ? undefined
          : compilePayloadSchema(route.schema, `route "${route.name}"`),
      breaker: route.breaker,
    }));
  }

  match(topic: string): MatchedRoutes {
    const levels = splitLevels(topic);
    const matched = this.#candidates.filter((route) => matchesLevels(route.levels, levels));
    const key = matched.map((route) => route.name).join('\n');
    let routes = this.#remembered.get(key);
    if (routes === undefined) {
      routes = this.#combine(matched);
      if (this.#remembered.size < maxRemembered) this.#remembered.set(key, routes);
    }
    return routes;
  }

  /** `filter` MUST be valid. */
  areOpenTo(method: AuthenticationMethod, filter: string): boolean {
    const levels = splitLevels(filter);
    const touched = this.#touchedBy(levels);
    return (
      touched.every(({ document }) => document.authenticate.includes(method)) &&
      touched.some((route) => coversLevels(route.levels, levels))
    );
  }

  /** `filter` MUST be valid. */
  integrityOf(filter: string): IntegrityDocument | undefined {
    const touched = this.#touchedBy(splitLevels(filter));
    return strictest(touched.flatMap(({ document }) => document.integrity ?? []));
  }

  #touchedBy(levels: readonly string[]): readonly Candidate[] {
    return this.#candidates.filter((route) => overlapsLevels(route.levels, levels));
  }

  #combine(matched: readonly Candidate[]): MatchedRoutes {
    const { limits } = this.#document;
    const own = identityBuckets(this.#document);
    const ofRoutes = matched
      .filter(({ document }) => document.rate.length > 0)
      .map(({ document }) =>
        Object.freeze({ key: `route:${document.name}`, windows: document.rate }),
      );
    return Object.freeze({
      routes: Object.freeze(
        matched.map(({ name, payload, breaker }) => Object.freeze({ name, payload, breaker })),
      ),
      buckets: Object.freeze({
        device: Object.freeze([...own.device, ...ofRoutes]),
        service: Object.freeze([...own.service, ...ofRoutes]),
        operator: Object.freeze([...own.operator, ...ofRoutes]),
      }),
      payloadBytes: Math.min(
        ...matched.map(({ document }) => document.payloadBytes ?? limits.payloadBytes),
        ...(matched.length === 0 ? [limits.payloadBytes] : []),
      ),
      authenticate: new Set<AuthenticationMethod>(
        matched.length === 0
          ? ['certificate']
          : authenticationMethods.filter((method) =>
              matched.every(({ document }) => document.authenticate.includes(method)),
            ),
      ),
      integrity: strictest(matched.flatMap(({ document }) => document.integrity ?? [])),
    });
  }
}

/** Routes that agree on no form leave an empty list, which nothing passes. */
function strictest(all: readonly IntegrityDocument[]): IntegrityDocument | undefined {
  const [first, ...others] = all;
  return others.reduce(
    (a, b) =>
      a && {
        required: a.required || b.required,
        accept: a.accept.filter((method) => b.accept.includes(method)),
        windowMs: Math.min(a.windowMs, b.windowMs),
      },
    first,
  );
}

const remembered = new WeakMap<PolicyDocument, MatchedRoutes['buckets']>();

/** What an identity of each kind may do in all; the same frozen lists for the life of the document. */
export function identityBuckets(document: PolicyDocument): MatchedRoutes['buckets'] {
  let buckets = remembered.get(document);
  if (buckets === undefined) {
    const of = (kind: PrincipalKind): readonly RateBucket[] => {
      const windows = document.identityRates[kind];
      return Object.freeze(
        windows.length === 0 ? [] : [Object.freeze({ key: 'identity', windows })],
      );
    };
    buckets = Object.freeze({
      device: of('device'),
      service: of('service'),
      operator: of('operator'),
    });
    remembered.set(document, buckets);
  }
  return buckets;
}
