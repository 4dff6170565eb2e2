/** One route of requests, checked: what the schema cannot say, and the files and the key that it names. */
import { parsePathPattern, patternKey, reservedPath } from '../base/path-pattern.ts';
import type { RateWindow } from '../base/rate-window.ts';
import type { UpstreamConfig } from './config.ts';
import { accepted } from './filled-config.ts';
import type { FilledProxied, FilledRoute, FilledServer } from './filled-config.ts';
import { parsePeerTls } from './parse-peer-tls.ts';
import { authenticateOf, breakerOf, integrityOf, windowsOf } from './parse-route-parts.ts';
import type { RoutePorts } from './parse-route-parts.ts';
import type { ProxiedRouteDocument } from './proxied-route.ts';
import { defaultMethods } from './proxied-schema.ts';
import { durationMs, pathOfUrl, sizeBytes } from './units.ts';
import type { Path } from './yaml-source.ts';

/** Of a body that is held as a whole, for a schema or a signature; what is streamed may be larger. */
const maxHeldBytes = 16 * 1_048_576;

/** Under which key of the bundle's secrets the key lies that the gateway shows an upstream. */
export function upstreamKeyAt(route: string): string {
  return `routes.${route}.proxy.key`;
}

interface ParsedProxied {
  readonly document: ProxiedRouteDocument;
  readonly upstream: UpstreamConfig;
}

/** @returns undefined when it has no path or upstream, which has been told. */
export function parseProxied(
  name: string,
  route: FilledRoute,
  ports: RoutePorts,
): ParsedProxied | undefined {
  const at = ['routes', name];
  const { path, upstream } = route;
  if (path === undefined) return undefined;
  if (upstream === undefined) {
    ports.fail(at, 'lacks the key "upstream": where requests to its path go');
    return undefined;
  }
  const reserved = reservedPath(path);
  if (reserved !== undefined) {
    ports.fail([...at, 'path'], `is the gateway's own: ${reserved} and what is below it`);
  }
  return {
    document: documentOf(name, path, route, ports),
    upstream: upstreamOf(name, path, route, serversOf(upstream), ports),
  };
}

/** No two routes may be of the same path: which of them is meant would hang on the order of their names. */
export function pathConflicts(
  routes: readonly ProxiedRouteDocument[],
  fail: (at: Path, message: string) => void,
): void {
  const names = new Map<string, string>();
  for (const { name, path } of routes) {
    const key = patternKey(parsePathPattern(path));
    const other = names.get(key);
    if (other === undefined) names.set(key, name);
    else fail(['routes', name, 'path'], `is the path of the route "${other}" already`);
  }
}

/** Without a burst a body of two bytes would never pass: then what one unit of time lets through does. */
function byteWindowsOf(written: FilledRoute['bytesRate']): readonly RateWindow[] {
  return windowsOf(written).map((window) =>
    window.burst > 0 ? window : { ...window, burst: window.limit },
  );
}

function documentOf(
  name: string,
  path: string,
  route: FilledRoute,
  ports: RoutePorts,
): ProxiedRouteDocument {
  const at = ['routes', name];
  const { schema, concurrent, contentTypes, webSocket } = route;
  const roles = route.roles ?? ['device'];
  for (const [i, role] of roles.entries()) {
    if (!Object.hasOwn(ports.roles, role))
      ports.fail([...at, 'roles', i], 'is not a role: add it under roles');
  }
  const methods = route.methods ?? defaultMethods;
  if (webSocket && !methods.includes('GET'))
    ports.fail([...at, 'webSocket'], 'begins with GET, which is not among "methods"');
  const integrity = integrityOf(route);
  const bodyBytes = accepted(sizeBytes(route.bodyBytes));
  if (bodyBytes > maxHeldBytes && (integrity !== undefined || schema !== undefined)) {
    const why = 'is more than the 16MiB of a body that is held for a schema or a signature';
    ports.fail([...at, 'bodyBytes'], why);
  }
  return {
    name,
    path,
    methods,
    roles,
    authenticate: authenticateOf(at, route, ['certificate'], ports),
    integrity,
    rate: windowsOf(route.rate),
    bytesRate: byteWindowsOf(route.bytesRate),
    concurrent,
    bodyBytes,
    contentTypes,
    schema: schema === undefined ? undefined : ports.schema([...at, 'schema'], schema),
    breaker: breakerOf(route),
    webSocket,
  };
}

function serversOf(upstream: NonNullable<FilledProxied['upstream']>): readonly FilledServer[] {
  const list = typeof upstream === 'string' || 'url' in upstream ? [upstream] : upstream;
  return list.map((server) => (typeof server === 'string' ? { url: server, weight: 1 } : server));
}

function upstreamOf(
  name: string,
  path: string,
  { proxy }: FilledProxied,
  servers: readonly FilledServer[],
  ports: RoutePorts,
): UpstreamConfig {
  const at = ['routes', name, 'upstream'];
  const proxyAt = ['routes', name, 'proxy'];
  const urls = servers.map(({ url }) => new URL(url));
  const [first] = urls;
  const isPlain = first?.protocol === 'http:';
  if (urls.some(({ protocol }) => (protocol === 'http:') !== isPlain))
    ports.fail(at, 'mixes http and https: who may read the requests would hang on chance');
  if (new Set(urls.map(({ origin }) => origin)).size < urls.length)
    ports.fail(at, 'names the same server twice; give it a weight instead');
  const answerMs = accepted(durationMs(proxy.answerTimeout));
  const totalMs = accepted(durationMs(proxy.timeout));
  if (totalMs < answerMs)
    ports.fail([...proxyAt, 'timeout'], 'is less than "answerTimeout", which is a part of it');
  const { health } = proxy;
  return {
    route: name,
    servers: servers.map(({ weight }, i) => ({ origin: urls[i]?.origin ?? '', weight })),
    rewrite: rewriteOf(path, servers, (message) => ports.fail(at, message)),
    ...parsePeerTls(proxy, isPlain, upstreamKeyAt(name), proxyAt, ports),
    connectMs: accepted(durationMs(proxy.connectTimeout)),
    answerMs,
    totalMs,
    connections: proxy.connections,
    waiting: proxy.waiting,
    headerBytes: accepted(sizeBytes(proxy.headerBytes)),
    breaker: {
      failures: proxy.breaker.failures,
      openMs: accepted(durationMs(proxy.breaker.open)),
    },
    health:
      health === undefined
        ? undefined
        : {
            path: health.path,
            everyMs: accepted(durationMs(health.every)),
            timeoutMs: accepted(durationMs(health.timeout)),
          },
    identity: proxy.identity,
    audience: proxy.audience ?? first?.origin ?? '',
  };
}

/** The path of the URLs, which all of them have to agree on. */
function rewriteOf(
  path: string,
  servers: readonly FilledServer[],
  fail: (message: string) => void,
): string | undefined {
  const [first, ...others] = servers.map(({ url }) => pathOfUrl(url));
  if (others.some((other) => other !== first)) {
    fail('has URLs with different paths: all of them stand in the place of the one "path"');
    return undefined;
  }
  // What is below the one path is put behind the other: `/a/` and `/b` would make `/bx` of `/a/x`.
  if (first !== undefined && path.endsWith('/') !== first.endsWith('/') && first !== '/') {
    fail(
      `has a path that ${first.endsWith('/') ? 'ends' : 'does not end'} with "/", other than "path"`,
    );
  }
  return first;
}
