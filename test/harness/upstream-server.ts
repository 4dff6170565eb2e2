/**
 * A backend behind a proxied route, of raw bytes: it counts connections and requests, keeps every byte that it was sent, and
 * answers as a test says. Requests are read as RFC 9112 writes them and no more leniently.
 */
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { until } from './waiting.ts';

export interface SeenRequest {
  readonly method: string;
  readonly target: string;
  /** Name and value as they came. */
  readonly lines: readonly (readonly [name: string, value: string])[];
  /** Lower-case name → values in their order. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
  readonly body: Buffer;
  /** Which connection it came on, from 1. */
  readonly connection: number;
}

/** A test, or whoever else ends what was begun. */
export interface Ending {
  after(end: () => unknown): void;
}

/** What is written in answer to a request; undefined: nothing. */
export type Behaviour = (request: SeenRequest, socket: Socket) => string | Buffer | undefined;

/** A whole answer. */
export function answerText(status: number, body: string, ...lines: readonly string[]): string {
  const head = [`HTTP/1.1 ${status} Whatever`, `Content-Length: ${Buffer.byteLength(body)}`];
  return `${[...head, ...lines].join('\r\n')}\r\n\r\n${body}`;
}

const okay = answerText(200, 'ok');

/** Of this process alone: while nobody listens here, no other test gets the port. */
const host = `127.${128 + ((process.pid >> 16) & 63)}.${(process.pid >> 8) & 255}.${process.pid & 255}`;

export class UpstreamServer {
  readonly requests: SeenRequest[] = [];
  readonly sockets = new Set<Socket>();
  /** Every byte that came, connection after connection. */
  readonly bytes: Buffer[] = [];
  /** How a request is answered. */
  behaviour: Behaviour = () => okay;
  /** Called with a connection before anything is read from it; true: it is the test's. */
  takes: (socket: Socket) => boolean = () => false;
  connections = 0;
  readonly #server: Server;
  #port = 0;

  /** On an address of loopback and a free port; ended with the test. */
  static async of(t: Ending, behaviour?: Behaviour): Promise<UpstreamServer> {
    const server = new UpstreamServer();
    if (behaviour !== undefined) server.behaviour = behaviour;
    await server.listen();
    t.after(() => server.close());
    return server;
  }

  private constructor() {
    this.#server = createServer((socket) => this.#accept(socket));
  }

  get url(): string {
    return `http://${host}:${this.#port}`;
  }

  /** On the port that it had before, if it had one. */
  async listen(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#port, host, resolve);
    });
    this.#port = (this.#server.address() as AddressInfo).port; // it listens on a port
  }

  /** Nobody is there any more. */
  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    if (!this.#server.listening) return;
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  /** The n-th request, once it is there. */
  async request(n = this.requests.length + 1): Promise<SeenRequest> {
    return until(`request ${n} at the backend`, 30_000, () => this.requests[n - 1]);
  }

  #accept(socket: Socket): void {
    this.connections += 1;
    const connection = this.connections;
    this.sockets.add(socket);
    socket.on('close', () => this.sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    if (this.takes(socket)) return;
    let waiting = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      this.bytes.push(chunk);
      waiting = Buffer.concat([waiting, chunk]);
      for (;;) {
        const taken = takeRequest(waiting, connection);
        if (taken === undefined) return;
        waiting = taken.rest;
        this.requests.push(taken.request);
        const answer = this.behaviour(taken.request, socket);
        if (answer !== undefined && socket.writable) socket.write(answer);
      }
    });
  }
}

interface Taken {
  readonly request: SeenRequest;
  readonly rest: Buffer<ArrayBuffer>;
}

function takeRequest(bytes: Buffer<ArrayBuffer>, connection: number): Taken | undefined {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const [first = '', ...rest] = bytes.toString('latin1', 0, end).split('\r\n');
  const [, method = '', target = ''] = /^([A-Z]+) (\/[\x21-\x7e]*) HTTP\/1\.1$/.exec(first) ?? [];
  if (method === '') throw new Error(`a request line that nobody sends: ${JSON.stringify(first)}`);
  const lines = rest.map((line): readonly [string, string] => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  });
  const headers = new Map<string, string[]>();
  for (const [name, value] of lines) {
    const values = headers.get(name.toLowerCase());
    if (values === undefined) headers.set(name.toLowerCase(), [value]);
    else values.push(value);
  }
  const after = bytes.subarray(end + 4);
  const chunked = headers.get('transfer-encoding') !== undefined;
  const length = Number(headers.get('content-length')?.[0] ?? 0);
  const body = chunked ? takeChunks(after) : { content: after.subarray(0, length), used: length };
  if (body === undefined || after.length < body.used) return undefined;
  const seen = { method, target, lines, headers, body: body.content, connection };
  return { request: seen, rest: after.subarray(body.used) };
}

function takeChunks(
  bytes: Buffer,
): { readonly content: Buffer; readonly used: number } | undefined {
  const chunks: Buffer[] = [];
  let at = 0;
  for (;;) {
    const end = bytes.indexOf('\r\n', at);
    if (end < 0) return undefined;
    const size = Number.parseInt(bytes.toString('latin1', at, end), 16);
    at = end + 2;
    if (bytes.length < at + size + 2) return undefined;
    chunks.push(bytes.subarray(at, at + size));
    at += size + 2;
    if (size === 0) return { content: Buffer.concat(chunks), used: at };
  }
}
