/** An HTTPS listener with proxied routes to backends of a test. */
import type { TestContext } from 'node:test';
import { Surroundings } from './https-listener.ts';
import type { SurroundingOptions } from './https-listener.ts';
import { UpstreamServer } from './upstream-server.ts';
import type { Behaviour } from './upstream-server.ts';
import type { UpstreamSettings } from '../../src/common/ipc/snapshot.ts';

/** What a route to `origins` has when nobody says otherwise, but for shorter times. */
export function settingsOf(
  route: string,
  origins: readonly string[],
  other: Partial<UpstreamSettings> = {},
): UpstreamSettings {
  return {
    route,
    servers: origins.map((origin) => ({ origin, weight: 1 })),
    rewrite: undefined,
    tls: { ca: undefined, client: undefined },
    connectMs: 5_000,
    answerMs: 20_000,
    totalMs: 60_000,
    connections: 64,
    waiting: 64,
    headerBytes: 16_384,
    breaker: { failures: 5, openMs: 10_000 },
    health: undefined,
    identity: 'none',
    audience: '',
    ...other,
  };
}

export interface ProxiedOptions extends Omit<SurroundingOptions, 'config'> {
  /** More of the route `backend`, in YAML flow style: `webSocket: true`. */
  readonly route?: string;
  /** More of the configuration. */
  readonly config?: string;
  readonly settings?: Partial<UpstreamSettings>;
  readonly behaviour?: Behaviour;
}

export interface ProxiedWorld {
  readonly surroundings: Surroundings;
  readonly backend: UpstreamServer;
}

/** One route, `backend`, of everything below `/b/`, to one backend; nobody is too fast. */
export async function proxiedWorld(
  t: TestContext,
  { route = '', config = '', settings, behaviour, ...options }: ProxiedOptions = {},
): Promise<ProxiedWorld> {
  const backend = await UpstreamServer.of(t, behaviour);
  const text = proxiedConfig(backend.url, route, config);
  const surroundings = await Surroundings.of(t, { ...options, config: text });
  surroundings.setUpstreams([settingsOf('backend', [backend.url], settings)]);
  return { surroundings, backend };
}

export function proxiedConfig(url: string, route = '', config = ''): string {
  const more = route === '' ? '' : `, ${route}`;
  const unlimited = /(?:^|[ ,])rate:/.test(route) ? '' : ', rate: []';
  return [
    'limits: { connectionsPerIdentity: 1000, identityRates: { device: [], service: [] } }',
    'routes:',
    '  telemetry: { rate: [] }',
    `  backend: { path: /b/, upstream: '${url}'${unlimited}${more} }`,
    config,
  ].join('\n');
}
