/**
 * What a proxied request costs between us and its server: our own upstreams beside undici and node:http, in turns. Prints
 * one JSON line per subject: microseconds of CPU per request, over all threads of this process, the median and the spread
 * of the rounds. Compare lines of one run only. The server is a process of its own that parses nothing.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request as requestOfNode } from 'node:http';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { Pool } from 'undici';
import { systemClock } from '../src/common/base/clock.ts';
import { silentLogger } from '../src/common/base/logger.ts';
import type { Answerer, UpstreamRequest } from '../src/worker/routes/upstream/ports.ts';
import { Upstreams } from '../src/worker/routes/upstream/upstreams.ts';

const rounds = 9;
const requests = 5_000;
const underWay = 16;
const answer = [
  'HTTP/1.1 200 OK',
  'Date: Sat, 21 Nov 2026 12:00:00 GMT',
  'Content-Type: application/json',
  'Content-Length: 15',
  'Connection: keep-alive',
  'X-Request-Id: 0123456789',
  '',
  '{"status":"ok"}',
].join('\r\n');
const headers = Object.entries({
  'User-Agent': 'sensor/1.0',
  Accept: '*/*',
  'Content-Type': 'application/json',
  'X-Principal': 'device/d1',
  'X-Device-Id': 'd1',
  'X-Client-DN': 'CN=d1',
  'X-Forwarded-For': '192.0.2.7',
  'X-Forwarded-Proto': 'https',
}).flat();
const body = Buffer.from('{"temperature":21.5}');
const path = '/backend/x';

type Method = 'GET' | 'POST';
type Ask = (method: Method, done: () => void) => void;

function serve(): void {
  const whole = Buffer.from(answer);
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => {});
    socket.on('data', () => socket.write(whole));
  });
  server.listen(0, '127.0.0.1', () => {
    // It listens on TCP.
    process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
  });
}

function ownAsk(port: number): Ask {
  const upstreams = new Upstreams({ clock: systemClock, logger: silentLogger, count: () => {} });
  const origin = `http://127.0.0.1:${port}`;
  upstreams.update([
    {
      route: 'r',
      servers: [{ origin, weight: 1 }],
      rewrite: undefined,
      tls: { ca: undefined, client: undefined },
      connectMs: 1_000,
      answerMs: 10_000,
      totalMs: 60_000,
      connections: underWay,
      waiting: underWay,
      headerBytes: 16_384,
      breaker: { failures: 5, openMs: 1_000 },
      health: undefined,
      identity: 'none',
      audience: '',
    },
  ]);
  const route = { name: 'r', path: '/backend/' };
  const asked = { path, query: undefined, headers, caller: 'device/d1' };
  const get: UpstreamRequest = { ...asked, method: 'GET', body: undefined };
  const post: UpstreamRequest = { ...asked, method: 'POST', body };
  return (method, done) => {
    const answerer: Answerer = {
      head: () => {},
      data: () => true,
      end: done,
      failed: ({ detail }) => stop(detail),
      drained: () => {},
    };
    upstreams.request(route, method === 'GET' ? get : post, answerer);
  };
}

function undiciPool(port: number): Pool {
  return new Pool(`http://127.0.0.1:${port}`, {
    connections: underWay,
    pipelining: 1,
    headersTimeout: 0,
    bodyTimeout: 0,
  });
}

function dispatchAsk(port: number): Ask {
  const pool = undiciPool(port);
  return (method, done) => {
    pool.dispatch(
      { method, path, headers, body: method === 'GET' ? null : body },
      {
        onRequestStart: () => {},
        onResponseStart: () => {},
        onResponseData: () => {},
        onResponseEnd: done,
        onResponseError: (_, error) => stop(error.message),
      },
    );
  };
}

function requestAsk(port: number): Ask {
  const pool = undiciPool(port);
  return (method, done) => {
    pool
      .request({ method, path, headers, body: method === 'GET' ? null : body })
      .then((response) => response.body.resume().once('end', done))
      .catch((error: unknown) => stop(String(error)));
  };
}

function nodeAsk(port: number): Ask {
  const agent = new Agent({ keepAlive: true, maxSockets: underWay });
  const host = ['Host', `127.0.0.1:${port}`];
  const lines = {
    GET: [...headers, ...host],
    POST: [...headers, ...host, 'Content-Length', String(body.length)],
  };
  return (method, done) => {
    const outgoing = requestOfNode({
      agent,
      host: '127.0.0.1',
      port,
      method,
      path,
      headers: lines[method],
    });
    outgoing.on('response', (incoming) => incoming.resume().once('end', done));
    outgoing.on('error', (error) => stop(error.message));
    outgoing.end(method === 'GET' ? undefined : body);
  };
}

function stop(detail: string): never {
  console.error(`the server has not answered: ${detail}`);
  process.exit(1);
}

/** @returns microseconds of CPU for each. */
async function measure(ask: Ask, method: Method): Promise<number> {
  const before = process.cpuUsage();
  await new Promise<void>((resolve) => {
    let begun = 0;
    let done = 0;
    const next = (): void => {
      if (begun === requests) return;
      begun += 1;
      ask(method, () => {
        done += 1;
        if (done === requests) resolve();
        else queueMicrotask(next);
      });
    };
    for (let i = 0; i < underWay; i += 1) next();
  });
  const { user, system } = process.cpuUsage(before);
  return (user + system) / requests;
}

async function run(): Promise<void> {
  const script = import.meta.filename;
  const server = spawn(process.execPath, [script, 'server'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [text] = (await once(server.stdout, 'data')) as [Buffer];
  const port = Number(text.toString());
  const contenders = new Map([
    ['upstreams', ownAsk(port)],
    ['undici dispatch', dispatchAsk(port)],
    ['undici request', requestAsk(port)],
    ['node:http', nodeAsk(port)],
  ]);
  for (const method of ['GET', 'POST'] as const) {
    const spent = new Map<string, number[]>();
    for (let round = 0; round <= rounds; round += 1) {
      for (const [name, ask] of contenders) {
        const us = await measure(ask, method);
        // The first round warms up.
        if (round > 0) spent.set(name, [...(spent.get(name) ?? []), us]);
      }
    }
    for (const [name, all] of spent) {
      const sorted = all.toSorted((a, b) => a - b);
      const at = (part: number): number =>
        Math.round((sorted[Math.floor(part * (rounds - 1))] ?? 0) * 10) / 10;
      const line = { subject: `${method}, ${name}`, unit: 'µs a request' };
      console.log(JSON.stringify({ ...line, median: at(0.5), min: at(0), max: at(1) }));
    }
  }
  server.kill();
  process.exit();
}

if (process.argv[2] === 'server') serve();
else await run();
