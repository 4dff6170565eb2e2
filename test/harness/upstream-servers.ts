/** For the tests of upstreams: servers on loopback that answer with whatever bytes a test wants, and what came of it. */
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import type { RequestListener } from 'node:http';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { within } from './waiting.ts';
import { systemClock } from '../../src/common/base/clock.ts';
import type { Clock } from '../../src/common/base/clock.ts';
import { silentLogger } from '../../src/common/base/logger.ts';
import type { Logger } from '../../src/common/base/logger.ts';
import type { UpstreamSettings } from '../../src/common/ipc/snapshot.ts';
import type { Timers } from '../../src/worker/routes/ports.ts';
import type {
  AnswerHead,
  Answerer,
  UpstreamCall,
  UpstreamFailure,
  UpstreamRequest,
} from '../../src/worker/routes/upstream/ports.ts';
import { Upstreams } from '../../src/worker/routes/upstream/upstreams.ts';

export const patienceMs = 10_000;
export const route = { name: 'r', path: '/backend/' };

/** Listens on any free port of loopback for as long as the test runs. @returns its origin. */
export async function listening(t: TestContext, server: Server, scheme = 'http'): Promise<string> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  // It listens on TCP.
  return `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

export function httpServer(t: TestContext, listener: RequestListener): Promise<string> {
  return listening(t, createHttpServer(listener));
}

export interface RawServer {
  readonly origin: string;
  /** Of each connection, what has come. */
  readonly received: Buffer[];
}

/** @param serve called when a whole head has come, with the number of the connection and of the request on it. */
export async function rawServer(
  t: TestContext,
  serve: (socket: Socket, connection: number, request: number) => void,
): Promise<RawServer> {
  const received: Buffer[] = [];
  const server = createServer((socket) => {
    const connection = received.length;
    let requests = 0;
    let searched = 0;
    received.push(Buffer.alloc(0));
    socket.on('data', (chunk: Buffer) => {
      const all = Buffer.concat([received[connection] ?? Buffer.alloc(0), chunk]);
      received[connection] = all;
      for (;;) {
        const end = all.indexOf('\r\n\r\n', searched);
        if (end < 0) break;
        searched = end + 4;
        serve(socket, connection, requests);
        requests += 1;
      }
    });
  });
  return { origin: await listening(t, server), received };
}

export function settingsFor(
  origins: string | readonly string[],
  more: Partial<UpstreamSettings> = {},
): UpstreamSettings {
  const all = typeof origins === 'string' ? [origins] : origins;
  return {
    route: route.name,
    servers: all.map((origin) => ({ origin, weight: 1 })),
    rewrite: undefined,
    tls: { ca: undefined, client: undefined },
    connectMs: 20_000,
    answerMs: 20_000,
    totalMs: 60_000,
    connections: 8,
    waiting: 8,
    headerBytes: 16_384,
    breaker: { failures: 3, openMs: 10_000 },
    health: undefined,
    identity: 'none',
    audience: 'r',
    ...more,
  };
}

export interface TestUpstreams {
  readonly upstreams: Upstreams;
  readonly counted: Map<string, number>;
}

export function upstreamsFor(
  t: TestContext,
  settings: UpstreamSettings,
  parts: { readonly time?: Clock & Timers; readonly logger?: Logger } = {},
): TestUpstreams {
  const counted = new Map<string, number>();
  const { time, logger = silentLogger } = parts;
  const upstreams = new Upstreams({
    clock: time ?? systemClock,
    logger,
    count: (name, by = 1) => counted.set(name, (counted.get(name) ?? 0) + by),
    random: () => 0.5,
    ...(time === undefined ? {} : { timers: time }),
  });
  upstreams.update([settings]);
  t.after(() => upstreams.drain(0));
  return { upstreams, counted };
}

/** What a request is told. */
export class Told implements Answerer {
  answer: AnswerHead | undefined;
  readonly pieces: Buffer[] = [];
  failure: UpstreamFailure | undefined;
  ended = false;
  drains = 0;
  /** What `data` returns. */
  flows = true;
  readonly #over = Promise.withResolvers<void>();
  readonly #begun = Promise.withResolvers<void>();
  #drained = Promise.withResolvers<void>();

  get isOver(): boolean {
    return this.ended || this.failure !== undefined;
  }

  get status(): number | undefined {
    return this.answer?.status;
  }

  get text(): string {
    return Buffer.concat(this.pieces).toString('latin1');
  }

  get bytes(): number {
    return this.pieces.reduce((sum, piece) => sum + piece.length, 0);
  }

  header(name: string): string | undefined {
    const headers = this.answer?.headers ?? [];
    const at = headers.findIndex((text, i) => i % 2 === 0 && text.toLowerCase() === name);
    return at < 0 ? undefined : headers[at + 1];
  }

  head(head: AnswerHead): void {
    this.answer = head;
    this.#begun.resolve();
  }

  data(piece: Buffer): boolean {
    this.pieces.push(piece);
    return this.flows;
  }

  end(last: Buffer | undefined): void {
    if (last !== undefined) this.pieces.push(last);
    this.ended = true;
    this.#over.resolve();
  }

  failed(failure: UpstreamFailure): void {
    this.failure = failure;
    this.#over.resolve();
  }

  drained(): void {
    this.drains += 1;
    this.#drained.resolve();
    this.#drained = Promise.withResolvers();
  }

  over(): Promise<void> {
    return within(this.#over.promise, patienceMs, 'the end of a request');
  }

  begun(): Promise<void> {
    return within(this.#begun.promise, patienceMs, 'the head of an answer');
  }

  room(): Promise<void> {
    return within(this.#drained.promise, patienceMs, 'room for more of a body');
  }
}

export function requestFor(more: Partial<UpstreamRequest> = {}): UpstreamRequest {
  return {
    method: 'GET',
    path: '/backend/x',
    query: undefined,
    headers: [],
    caller: 'device/d1',
    body: undefined,
    ...more,
  };
}

/** Asks, and waits for the end of it. */
export async function ask(
  upstreams: Upstreams,
  more: Partial<UpstreamRequest> = {},
): Promise<Told> {
  const { told } = begin(upstreams, more);
  await told.over();
  return told;
}

export function begin(
  upstreams: Upstreams,
  more: Partial<UpstreamRequest> = {},
): { readonly told: Told; readonly call: UpstreamCall } {
  const told = new Told();
  return { told, call: upstreams.request(route, requestFor(more), told) };
}
