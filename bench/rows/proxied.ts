/** HTTPS requests that go on to a backend: judged, proxied and answered, against nginx before the same backend. */
import { Admin } from '../harness/admin.ts';
import { Backend, Nginx } from '../harness/nginx.ts';
import { proxiedRoute, signedRoute } from '../harness/nginx-routes.ts';
import type { HmacKey } from '../harness/nginx-routes.ts';
import type { Result, Row, RowContext } from '../harness/results.ts';
import { alternate } from '../harness/rounds.ts';
import { Sallyport } from '../harness/sallyport.ts';
import { always, postBytes } from '../load/http-connection.ts';
import { together } from '../load/pace.ts';
import { SignedPosts } from '../load/signed-posts.ts';
import { telemetryPayload, telemetrySchema } from '../load/telemetry.ts';
import { connections, Posts } from './posts.ts';

const path = '/backend/readings';
const perConnection = 400;
const unit = 'µs CPU per request';
const load = `${perConnection * connections} POSTs of ${telemetryPayload.length} bytes a round over ${connections} keep-alive connections of as many devices, one request each on its way; the backend is an nginx on the load's cores, the same for both, and not counted`;
const peerName = 'nginx mTLS + limit_req + proxy_pass';
const signedPeerName = 'nginx mTLS + limit_req + Lua (HMAC, nonce, JSON) + proxy_pass';

/** Far below what one core of either side can serve, also where others use that core. */
const latencyPerSecond = 250;
const latencySeconds = 4;

/** The same requests for both sides, from the devices of one fleet. */
interface Sides extends AsyncDisposable {
  readonly ours: Posts;
  readonly theirs: Posts;
}

export const httpsProxied: Row = {
  name: 'https-proxied',
  async run({ rounds }: RowContext): Promise<Result[]> {
    await using sides = await plainSides();
    const [figures = [], peerFigures = []] = await cpuOf(rounds, sides);
    return [
      {
        row: this.name,
        subject: 'HTTPS proxied: mutual TLS, rates, the request carried to a backend',
        unit,
        figures,
        peer: { name: peerName, figures: peerFigures },
        pass: 1.5,
        goal: 1,
        notes: [load],
      },
    ];
  },
};

export const httpsProxiedHmac: Row = {
  name: 'https-proxied-hmac',
  async run({ rounds }: RowContext): Promise<Result[]> {
    await using sides = await signedSides();
    const [figures = [], peerFigures = []] = await cpuOf(rounds, sides);
    const result: Result = {
      row: this.name,
      subject: 'HTTPS proxied with HMAC-SHA-256, nonce and schema',
      unit,
      figures,
      peer: { name: signedPeerName, figures: peerFigures },
      pass: 1.3,
      goal: 1,
      notes: [
        load,
        'our nonces are on the disk before a request goes on, those of Lua in the memory of nginx alone',
      ],
    };
    return [result];
  },
};

export const httpsLatency: Row = {
  name: 'https-latency',
  async run({ rounds }: RowContext): Promise<Result[]> {
    const results: Result[] = [];
    for (const [subject, peer, open] of [
      ['proxied', peerName, plainSides],
      ['proxied with HMAC, nonce (flushed), schema', signedPeerName, signedSides],
    ] as const) {
      await using sides = await open();
      const tails: [number[], number[]] = [[], []];
      const round = (side: 0 | 1) => async (): Promise<number> => {
        const posts = side === 0 ? sides.ours : sides.theirs;
        const times = await posts.latencies(latencyPerSecond, latencySeconds);
        times.sort((a, b) => a - b);
        tails[side].push(at(times, 0.99));
        return at(times, 0.5);
      };
      const [figures = [], peerFigures = []] = await alternate(rounds, [
        { round: round(0) },
        { round: round(1) },
      ]);
      // Of the round that warms up nobody speaks.
      const [tail, peerTail] = tails.map((each) => each.slice(-rounds));
      const notes = [
        `${latencyPerSecond} requests a second over ${connections} connections for ${latencySeconds} s, from when one is due to its answer, backend and load included`,
      ];
      const line = (part: string, ours: number[], theirs: number[]): Result => ({
        row: this.name,
        subject: `HTTPS ${subject}: ${part} at ${latencyPerSecond} requests a second`,
        unit: 'ms',
        figures: ours,
        peer: { name: peer, figures: theirs },
        notes,
      });
      results.push(line('p50', figures, peerFigures), line('p99', tail ?? [], peerTail ?? []));
    }
    return results;
  },
};

function at(sorted: readonly number[], part: number): number {
  return sorted[Math.floor(part * sorted.length)] ?? Number.NaN;
}

function cpuOf(rounds: number, { ours, theirs }: Sides): Promise<number[][]> {
  return alternate(rounds, [
    { round: () => ours.cpuPerRequest(perConnection) },
    { round: () => theirs.cpuPerRequest(perConnection) },
  ]);
}

async function plainSides(): Promise<Sides> {
  await using stack = new AsyncDisposableStack();
  const backend = stack.use(await Backend.start());
  const sallyport = stack.use(await proxying(backend));
  const { fleet } = sallyport;
  const route = proxiedRoute;
  const nginx = stack.use(await Nginx.start({ deviceRoot: fleet.rootFile, backend, route }));
  const source = always(postBytes(path, telemetryPayload));
  const ours = await Posts.open(sallyport, fleet, () => source);
  const theirs = await Posts.open(nginx, fleet, () => source);
  return asSides(stack, ours, theirs);
}

async function signedSides(): Promise<Sides> {
  await using stack = new AsyncDisposableStack();
  const backend = stack.use(await Backend.start());
  const sallyport = stack.use(
    await proxying(backend, [
      'integrity: { accept: [ hmac ], clock: 60s }',
      'schema: readings.json',
    ]),
  );
  const { fleet } = sallyport;
  const keys = await keysOf(sallyport);
  const route = signedRoute(keys);
  const nginx = stack.use(await Nginx.start({ deviceRoot: fleet.rootFile, backend, route }));
  const sourceOf = (device: number): SignedPosts => {
    const key = keys[device];
    if (key === undefined) throw new Error(`device ${device} has no key`);
    return new SignedPosts(key, path, telemetryPayload);
  };
  const ours = await Posts.open(sallyport, fleet, sourceOf);
  const theirs = await Posts.open(nginx, fleet, sourceOf);
  return asSides(stack, ours, theirs);
}

/** From here on they are the caller's. */
function asSides(stack: AsyncDisposableStack, ours: Posts, theirs: Posts): Sides {
  stack.defer(() => {
    ours.close();
    theirs.close();
  });
  const owned = stack.move();
  return { ours, theirs, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function proxying(backend: Backend, more: readonly string[] = []): Promise<Sallyport> {
  const upstream = `upstream: 'http://127.0.0.1:${backend.port}'`;
  return Sallyport.start({
    devices: connections,
    limits: ['noncesPerIdentity: 10000000'],
    routes: { readings: ['path: /backend/', upstream, 'methods: [ POST ]', ...more] },
    files: { 'readings.json': telemetrySchema },
  });
}

const keysAtOnce = 4;

/** A derived key for each device, in the order of the fleet. */
async function keysOf(sallyport: Sallyport): Promise<HmacKey[]> {
  using admin = new Admin(sallyport.gateway, keysAtOnce);
  const { devices } = sallyport.fleet;
  const keys: HmacKey[] = [];
  await together(devices.length, keysAtOnce, async (i) => {
    const device = devices[i]?.id ?? '';
    const told = await admin.create(`/v1/principals/device/${device}/keys/derive`, {});
    // docs/openapi/admin-api.yaml, DerivedKey.
    const { keyId, key } = told as { keyId: string; key: string };
    keys[i] = { device, keyId, key };
  });
  return keys;
}
