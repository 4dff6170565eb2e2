/** Which proxied route a path belongs to, and what that route asks of a request. */
import {
  anySegment,
  idSegment,
  isMoreSpecific,
  otherEnd,
  parsePathPattern,
  pathReadings,
  reservedPath,
} from '../../common/base/path-pattern.ts';
import type { PrincipalKind } from '../../common/base/principal.ts';
import { compilePayloadSchema } from '../../common/config/payload-schema.ts';
import type { PayloadCheck } from '../../common/config/payload-schema.ts';
import type { PolicyDocument } from '../../common/config/policy-document.ts';
import type {
  AuthenticationMethod,
  ProxiedRouteDocument,
} from '../../common/config/proxied-route.ts';
import { identityBuckets } from './matched-routes.ts';
import type { RateBucket } from './ports.ts';

/** Frozen; one object for the life of a policy, so it may be the key of what is kept for it. */
export interface CompiledProxied {
  readonly name: string;
  readonly document: ProxiedRouteDocument;
  readonly methods: ReadonlySet<string>;
  readonly authenticate: ReadonlySet<AuthenticationMethod>;
  readonly roles: ReadonlySet<string>;
  readonly contentTypes: ReadonlySet<string>;
  /** Undefined: any body, which need not be had as a whole before it is sent on unless a signature is over it. */
  readonly payload: PayloadCheck | undefined;
  /** Of the identity and of the route; frozen, as `RateBudget` wants it. */
  readonly buckets: Readonly<Record<PrincipalKind, readonly RateBucket[]>>;
  /** Those among them that count bytes, which every kind shares. */
  readonly byteBuckets: readonly RateBucket[];
}

interface Node {
  literals: Map<string, Node> | undefined;
  /** Of the segment `${id}`. */
  own: Node | undefined;
  any: Node | undefined;
  exact: CompiledProxied | undefined;
  subtree: CompiledProxied | undefined;
}

export class ProxiedRoutes {
  readonly #root = newNode();
  readonly #isAlone: boolean;

  /** @throws SallyportError `invalid-config` when a schema is unsafe or wrong. */
  constructor(document: PolicyDocument) {
    for (const route of document.proxied) this.#add(compileRoute(route, document));
    this.#isAlone = document.proxied.length < 2;
  }

  /**
   * The most specific route: at the first segment in which two differ a literal one wins over `${id}`, that over `*`, and
   * a longer pattern over the one above it.
   *
   * @param path canonical. @param id undefined: of nobody. @returns undefined also for a path that the servers behind may
   *   read as one of another route, by its parameters or by the slash that it ends with or lacks.
   */
  find(path: string, id: string | undefined): CompiledProxied | undefined {
    const readings = pathReadings(path);
    const found = this.#findReading(readings[0], id);
    if (readings.length === 1) return found;
    return readings.every((other) => this.#findReading(other, id) === found) ? found : undefined;
  }

  /** A route that is open to any path leads to none of the gateway's own. */
  #findReading(reading: string, id: string | undefined): CompiledProxied | undefined {
    if (reservedPath(reading) !== undefined) return undefined;
    const found = findBelow(this.#root, reading, 1, id);
    if (found === undefined || this.#isAlone) return found;
    // What is written for `/a/admin/` is meant for whoever asks for `/a/admin` too, and the other way round.
    const other = findBelow(this.#root, otherEnd(reading), 1, id);
    if (other === undefined || other === found) return found;
    const [its, ours] = [other, found].map(({ document }) => parsePathPattern(document.path));
    return its !== undefined && ours !== undefined && isMoreSpecific(its, ours) ? undefined : found;
  }

  #add(route: CompiledProxied): void {
    const { segments, subtree } = parsePathPattern(route.document.path);
    let node = this.#root;
    for (const segment of segments) {
      if (segment === anySegment) node = node.any ??= newNode();
      else if (segment === idSegment) node = node.own ??= newNode();
      else {
        const literals = (node.literals ??= new Map<string, Node>());
        const child = literals.get(segment) ?? newNode();
        literals.set(segment, child);
        node = child;
      }
    }
    if (subtree) node.subtree = route;
    else node.exact = route;
  }
}

function newNode(): Node {
  return {
    literals: undefined,
    own: undefined,
    any: undefined,
    exact: undefined,
    subtree: undefined,
  };
}

/** @param at where the segment begins that is next; 0 = the path is at its end. */
function findBelow(
  node: Node,
  path: string,
  at: number,
  id: string | undefined,
): CompiledProxied | undefined {
  if (at === 0) return node.exact;
  const { literals, own, any, subtree } = node;
  if (literals === undefined && own === undefined && any === undefined) return subtree;
  const slash = path.indexOf('/', at);
  const segment = slash < 0 ? path.slice(at) : path.slice(at, slash);
  const next = slash + 1;
  const literal = literals?.get(segment);
  let found = literal === undefined ? undefined : findBelow(literal, path, next, id);
  if (found === undefined && own !== undefined && segment === id)
    found = findBelow(own, path, next, id);
  if (found === undefined && any !== undefined && segment !== '')
    found = findBelow(any, path, next, id);
  return found ?? subtree;
}

function compileRoute(document: ProxiedRouteDocument, policy: PolicyDocument): CompiledProxied {
  const { name, rate, bytesRate } = document;
  const own = identityBuckets(policy);
  const ofRoute = rate.length === 0 ? [] : [Object.freeze({ key: `route:${name}`, windows: rate })];
  const ofBytes: RateBucket = Object.freeze({
    key: `bytes:${name}`,
    windows: bytesRate,
    unit: 'bytes',
  });
  const byteBuckets = Object.freeze(bytesRate.length === 0 ? [] : [ofBytes]);
  return Object.freeze({
    name,
    document,
    methods: new Set(document.methods),
    authenticate: new Set(document.authenticate),
    roles: new Set(document.roles),
    contentTypes: new Set(document.contentTypes),
    payload:
      document.schema === undefined
        ? undefined
        : compilePayloadSchema(document.schema, `route "${name}"`),
    buckets: Object.freeze({
      device: Object.freeze([...own.device, ...ofRoute, ...byteBuckets]),
      service: Object.freeze([...own.service, ...ofRoute, ...byteBuckets]),
      operator: Object.freeze([...own.operator, ...ofRoute, ...byteBuckets]),
    }),
    byteBuckets,
  });
}
