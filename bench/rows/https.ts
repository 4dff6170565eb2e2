/** Telemetry by HTTPS: keep-alive POSTs over mutual TLS, against nginx doing what it can of the same. */
import { moveToAllCores, moveToLoadCores, onAllCores } from '../harness/machine.ts';
import { freePort } from '../harness/network.ts';
import { EventSink } from '../harness/event-sink.ts';
import { Backend, Nginx } from '../harness/nginx.ts';
import { checkedTelemetryRoute, telemetryRoute } from '../harness/nginx-routes.ts';
import type { Result, Row, RowContext } from '../harness/results.ts';
import { alternate } from '../harness/rounds.ts';
import { Sallyport } from '../harness/sallyport.ts';
import { openSession } from './fan-in.ts';
import { telemetryPayload, telemetrySchema } from '../load/telemetry.ts';
import { connections, Posts } from './posts.ts';

const perConnection = 400;
const perRound = perConnection * connections;
const unit = 'µs CPU per request';
const load = `${perRound} POSTs of ${telemetryPayload.length} bytes a round over ${connections} keep-alive connections of as many devices, one request each on its way`;

const https = { devices: connections };

export const httpsAccept: Row = {
  name: 'https-accept',
  async run({ rounds }: RowContext): Promise<Result[]> {
    await using sallyport = await Sallyport.start(https);
    await using backend = await Backend.start();
    await using nginx = await Nginx.start({
      deviceRoot: sallyport.fleet.rootFile,
      backend,
      route: telemetryRoute,
    });
    const ours = await Posts.open(sallyport, sallyport.fleet);
    const theirs = await Posts.open(nginx, sallyport.fleet);
    const compare = (): Promise<number[][]> =>
      alternate(rounds, [
        { round: () => ours.cpuPerRequest(perConnection) },
        { round: () => theirs.cpuPerRequest(perConnection) },
      ]);
    const nobody = await compare();
    const subscriber = await openSession(sallyport, sallyport.fleet.service, connections);
    await subscriber.subscribe('devices/+/telemetry');
    const somebody = await compare();
    const result = (subject: string, [figures = [], peerFigures = []]: number[][]): Result => ({
      row: this.name,
      subject,
      unit,
      figures,
      peer: { name: 'nginx mTLS + limit_req + proxy_pass', figures: peerFigures },
      pass: 1.5,
      goal: 1,
      notes: [load],
    });
    return [
      result('HTTPS telemetry accepted, nothing durable; nobody subscribes', nobody),
      result('the same, and delivered to one MQTT subscriber', somebody),
    ];
  },
};

export const httpsSchema: Row = {
  name: 'nginx-lua',
  async run({ rounds }: RowContext): Promise<Result[]> {
    await using sallyport = await Sallyport.start({
      ...https,
      route: ['schema: telemetry.json'],
      files: { 'telemetry.json': telemetrySchema },
    });
    await using backend = await Backend.start();
    await using nginx = await Nginx.start({
      deviceRoot: sallyport.fleet.rootFile,
      backend,
      route: checkedTelemetryRoute,
    });
    const ours = await Posts.open(sallyport, sallyport.fleet);
    const theirs = await Posts.open(nginx, sallyport.fleet);
    const [figures = [], peerFigures = []] = await alternate(rounds, [
      { round: () => ours.cpuPerRequest(perConnection) },
      { round: () => theirs.cpuPerRequest(perConnection) },
    ]);
    return [
      {
        row: this.name,
        subject: 'HTTPS telemetry with rate and payload schema (https-schema), accepted',
        unit,
        figures,
        peer: { name: 'nginx mTLS + limit_req + Lua check + proxy_pass', figures: peerFigures },
        notes: [load, 'the Lua code checks the same fields by hand with cjson'],
      },
    ];
  },
};

export const httpsDurable: Row = {
  name: 'https-durable',
  async run({ rounds, say }: RowContext): Promise<Result[]> {
    const subject = 'HTTPS telemetry accepted, durable';
    const delivered: Result = {
      row: this.name,
      subject: `${subject} and delivered to a backend in batches of 100`,
      unit,
      figures: await withDelivery(rounds),
      goal: 50,
      notes: [load, 'until the last of them is at the backend'],
    };
    say('backend away');
    const waiting: Result = {
      row: this.name,
      subject: `${subject}, the backend away`,
      unit,
      figures: await withoutBackend(rounds),
      goal: 50,
      notes: [load, 'what acceptance and the spool cost without delivery'],
    };
    return [delivered, waiting];
  },
};

async function withDelivery(rounds: number): Promise<number[]> {
  await using sink = await EventSink.start();
  const to = `to: [ { http: '${sink.url}', batch: 100 } ]`;
  await using sallyport = await Sallyport.start({ ...https, route: [to] });
  const posts = await Posts.open(sallyport, sallyport.fleet);
  let sent = 0;
  const round = (): Promise<number> => {
    sent += perRound;
    return posts.cpuPerRequest(perConnection, () => sink.has(sent));
  };
  const [figures = []] = await alternate(rounds, [{ round }]);
  posts.close();
  return figures;
}

async function withoutBackend(rounds: number): Promise<number[]> {
  const port = await freePort();
  const retry = 'retry: { min: 500ms, max: 2s }';
  const to = `to: [ { http: 'http://127.0.0.1:${port}/', batch: 100, ${retry} } ]`;
  await using sallyport = await Sallyport.start({ ...https, route: [to] });
  const posts = await Posts.open(sallyport, sallyport.fleet);
  let sent = 0;
  const round = (): Promise<number> => {
    sent += perRound;
    return posts.cpuPerRequest(perConnection);
  };
  const [figures = []] = await alternate(rounds, [{ round }]);
  posts.close();
  // Only what is in the spool can arrive now: a figure for messages that were never stored would be worth nothing.
  await using sink = await EventSink.start(port);
  await sink.has(sent);
  return figures;
}

export const httpsRps: Row = {
  name: 'https-rps',
  async run({ rounds }: RowContext): Promise<Result[]> {
    const workers = 2;
    await using sallyport = await Sallyport.start({ ...https, workers, under: onAllCores });
    const posts = await Posts.open(sallyport, sallyport.fleet);
    const allTimes: number[] = [];
    moveToAllCores();
    try {
      const round = async (): Promise<number> => {
        const { perSecond, times } = await posts.throughput(perConnection * 2);
        for (const time of times) allTimes.push(time);
        return perSecond;
      };
      const [figures = []] = await alternate(rounds, [{ round }]);
      return [
        {
          row: this.name,
          subject: 'HTTPS telemetry, requests per second on one node, load included',
          unit: 'requests per second',
          more: true,
          figures,
          pass: 20_000,
          goal: 40_000,
          notes: [
            `wall clock; ${workers} workers share the machine's cores with the load, which takes about as much of them`,
            `${connections} connections, one request each on its way; ${percentiles(allTimes)}`,
          ],
        },
      ];
    } finally {
      posts.close();
      moveToLoadCores();
    }
  },
};

function percentiles(times: number[]): string {
  times.sort((a, b) => a - b);
  const at = (part: number): string => (times[Math.floor(part * times.length)] ?? 0).toFixed(1);
  return `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`;
}
