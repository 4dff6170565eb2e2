/** Every route of the configuration, checked: those of messages here, those of requests in parse-proxied.ts. */
import { SallyportError } from '../base/errors.ts';
import { configSchema } from './config-schema.ts';
import type { BackendConfig, RouteConfig, UpstreamConfig } from './config.ts';
import { fillDefaults } from './fill-defaults.ts';
import { accepted } from './filled-config.ts';
import type { FilledRoute } from './filled-config.ts';
import { parseBackends } from './parse-backends.ts';
import { parseProxied, pathConflicts } from './parse-proxied.ts';
import { authenticateOf, breakerOf, integrityOf, windowsOf } from './parse-route-parts.ts';
import type { RoutePorts } from './parse-route-parts.ts';
import type { ProxiedRouteDocument } from './proxied-route.ts';
import { proxiedKeys } from './proxied-schema.ts';
import { sizeBytes } from './units.ts';

interface ParsedRoutes {
  readonly routes: RouteConfig[];
  readonly backends: BackendConfig[];
  readonly proxied: ProxiedRouteDocument[];
  readonly upstreams: UpstreamConfig[];
}

/** Keys that say nothing of requests. */
const messageKeys = ['match', 'payloadBytes', 'to', 'spool'] as const;

export function parseRoutes(
  written: Readonly<Record<string, FilledRoute>>,
  ports: RoutePorts,
): ParsedRoutes {
  const parsed: ParsedRoutes = { routes: [], backends: [], proxied: [], upstreams: [] };
  const names = new Set(['telemetry', ...Object.keys(written)]);
  for (const name of names) {
    const route = withDefaults(name, written[name], ports);
    const at = ['routes', name];
    if (ports.wrote([...at, 'path'])) {
      for (const key of messageKeys) {
        if (ports.wrote([...at, key]))
          ports.fail([...at, key], 'is for routes of messages; one with "path" is of requests');
      }
      const made = parseProxied(name, route, ports);
      if (made === undefined) continue;
      parsed.proxied.push(made.document);
      parsed.upstreams.push(made.upstream);
      continue;
    }
    const stray = Object.keys(proxiedKeys).filter((key) => ports.wrote([...at, key]));
    for (const key of stray) {
      ports.fail([...at, key], 'is for routes of requests, which have the key "path"');
    }
    const { match } = route;
    if (match === undefined) {
      if (stray.length === 0) ports.fail(at, 'lacks the key "match", or "path" and "upstream"');
      continue;
    }
    parsed.backends.push(...parseBackends({ ...route, match }, { ...ports, name }));
    parsed.routes.push(messageRoute(name, { ...route, match }, ports));
  }
  pathConflicts(parsed.proxied, ports.fail);
  return parsed;
}

function messageRoute(
  name: string,
  route: FilledRoute & { readonly match: string },
  ports: RoutePorts,
): RouteConfig {
  const at = ['routes', name];
  const { match, schema } = route;
  const payloadBytes =
    route.payloadBytes === undefined ? undefined : accepted(sizeBytes(route.payloadBytes));
  if (payloadBytes !== undefined && payloadBytes > ports.limits.packetBytes) {
    ports.fail(
      [...at, 'payloadBytes'],
      'is more than limits.packetBytes, which ends the connection first',
    );
  }
  const integrity = integrityOf(route);
  return {
    name,
    match,
    rate: windowsOf(route.rate),
    schemaFile: schema,
    schema: schema === undefined ? undefined : ports.schema([...at, 'schema'], schema),
    payloadBytes,
    breaker: breakerOf(route),
    authenticate: authenticateOf(
      at,
      route,
      integrity === undefined ? ['certificate'] : ['certificate', 'signature'],
      ports,
    ),
    integrity,
  };
}

/** `telemetry` keeps what the configuration does not say of it. */
function withDefaults(
  name: string,
  route: FilledRoute | undefined,
  ports: RoutePorts,
): FilledRoute {
  const node = configSchema.properties?.['routes']?.additionalProperties;
  if (typeof node !== 'object') throw new SallyportError('internal', 'no schema of a route');
  // What is left out of a route is filled in by its schema, which gives this shape.
  const written = route ?? (fillDefaults(node, {}) as FilledRoute);
  // The schema's own default, which is data of this very shape.
  const defaults = configSchema.properties?.['routes']?.default as Record<string, FilledRoute>;
  const shipped = Object.hasOwn(defaults, name) ? defaults[name] : undefined;
  if (shipped === undefined) return written;
  return {
    ...written,
    match: written.match ?? shipped.match,
    rate: ports.wrote(['routes', name, 'rate']) ? written.rate : shipped.rate,
  };
}
