/**
 * A backend as a process of its own, so that it can be killed: `node backend-process.ts <BackendSettings as JSON>`.
 *
 * Prints `{"port":n}` when it listens. A line on standard input is a JSON array of behaviours, answered with `{}` when
 * they are in force. It ends when its standard input does, so it does not outlive whoever started it.
 */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { createInterface } from 'node:readline';
import { TLSSocket } from 'node:tls';
import { randomInt } from 'node:crypto';
import type { BackendSettings, Behaviour, Behaviours } from './backend-behaviour.ts';
import { parseEvents } from './backend-event.ts';
import type { ParsedRequest } from './backend-event.ts';
import type { BackendRequest } from './backend-record.ts';

// What the harness itself has written.
const settings = JSON.parse(process.argv[2] ?? '{}') as BackendSettings;
const record = openSync(settings.record, 'a', 0o600);
let behaviours: Behaviours = settings.behaviours;

function nextBehaviour(): Behaviour {
  const [now, next, ...rest] = behaviours;
  if (next !== undefined) behaviours = [next, ...rest];
  return now;
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const behaviour = nextBehaviour();
  if (behaviour.do === 'reset') {
    note(request, behaviour.do, false, { events: [] });
    request.socket.resetAndDestroy();
    return;
  }
  const body = await bodyOf(request);
  let parsed: ParsedRequest;
  try {
    parsed = parseEvents({
      method: request.method ?? '',
      headers: request.headersDistinct,
      body,
    });
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    note(request, behaviour.do, false, { events: [], problem });
    response.writeHead(400, { 'content-type': 'text/plain' }).end(problem);
    return;
  }
  const accepted = accepts(behaviour, body);
  note(request, behaviour.do, accepted, parsed);
  answer(behaviour, accepted, response);
}

function accepts(behaviour: Behaviour, body: Buffer): boolean {
  if (behaviour.do === 'hang' || behaviour.do === 'reset') return false;
  if (behaviour.do !== 'answer') return true;
  const { containing, status } = behaviour;
  return containing === undefined ? status >= 200 && status <= 299 : !body.includes(containing);
}

function answer(behaviour: Behaviour, accepted: boolean, response: ServerResponse): void {
  switch (behaviour.do) {
    case 'accept':
      response.writeHead(204).end();
      break;
    case 'slow':
      setTimeout(() => response.writeHead(204).end(), behaviour.ms);
      break;
    case 'answer':
      answerStatus(behaviour, accepted, response);
      break;
    case 'cut':
      response.writeHead(200, { 'content-length': 10 });
      response.write('half', () => response.destroy());
      break;
    case 'die':
      process.kill(process.pid, 'SIGKILL');
      break;
    case 'hang':
    case 'reset':
      break;
  }
}

function answerStatus(
  { status, containing, retryAfterSeconds, location }: Extract<Behaviour, { do: 'answer' }>,
  accepted: boolean,
  response: ServerResponse,
): void {
  const passes = accepted && containing !== undefined;
  if (!passes && retryAfterSeconds !== undefined) {
    response.setHeader('retry-after', retryAfterSeconds);
  }
  if (!passes && location !== undefined) response.setHeader('location', location);
  response.writeHead(passes ? 204 : status).end();
}

/** In one write and before the answer: what was answered is on file, whatever happens to this process. */
function note(
  request: IncomingMessage,
  did: Behaviour['do'],
  accepted: boolean,
  what: Pick<BackendRequest, 'events' | 'mode' | 'problem'>,
): void {
  const { socket } = request;
  const client =
    socket instanceof TLSSocket && socket.authorized
      ? socket.getPeerX509Certificate()?.subject.replace(/^CN=/, '')
      : undefined;
  const line: BackendRequest = {
    at: Date.now(),
    did,
    accepted,
    path: request.url ?? '',
    headers: definedHeaders(request),
    connection: socket.remotePort ?? 0,
    ...(client === undefined ? {} : { client }),
    ...what,
  };
  const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
  for (let at = 0; at < bytes.length;) at += writeSync(record, bytes, at);
}

function definedHeaders(request: IncomingMessage): Record<string, string[]> {
  return Object.fromEntries(
    Object.entries(request.headersDistinct).map(([name, values = []]) => [name, values]),
  );
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  // An IncomingMessage without an encoding yields Buffers only.
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function createServer(handler: RequestListener): Server {
  const { tls } = settings;
  if (tls === undefined) return createHttpServer(handler);
  const clientCa = tls.clientCa === undefined ? undefined : readFileSync(tls.clientCa);
  return createHttpsServer(
    {
      cert: readFileSync(tls.certificate),
      key: readFileSync(tls.key),
      minVersion: 'TLSv1.2',
      ...(clientCa === undefined
        ? {}
        : { ca: clientCa, requestCert: true, rejectUnauthorized: true }),
    },
    handler,
  );
}

async function listen(server: Server, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen({ host: '127.0.0.1', port }, () => {
    server.off('error', reject);
    resolve();
  });
  await promise;
}

/**
 * A free port outside the range from which the kernel gives ports away: while the backend is down, nobody else gets
 * this one, and a client that tries again and again cannot meet itself on it.
 */
async function listenAnywhere(server: Server): Promise<void> {
  const [low = 32_768] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8')
    .split('\t')
    .map(Number);
  for (let triesLeft = 50; ; triesLeft -= 1) {
    try {
      await listen(server, randomInt(Math.min(10_000, low - 1), low));
      return;
    } catch (error) {
      if (triesLeft === 0) throw error;
    }
  }
}

const server = createServer((request, response) => {
  serve(request, response).catch(() => {
    // The sender went away in the middle: it has been promised nothing.
    response.destroy();
  });
});
// A connection that a sender keeps open is ended by the sender, or by a test.
server.keepAliveTimeout = 0;
server.requestTimeout = 0;
if (settings.port === 0) await listenAnywhere(server);
else await listen(server, settings.port);
const address = server.address();
if (typeof address !== 'object' || address === null) throw new Error('no address');
// Before anything comes: what a torn last line of an earlier life ends with.
writeSync(record, '\n');
process.stdout.write(`${JSON.stringify({ port: address.port })}\n`);
const commands = createInterface({ input: process.stdin });
commands.on('line', (line) => {
  behaviours = JSON.parse(line) as Behaviours; // what the harness itself has written
  process.stdout.write('{}\n');
});
commands.once('close', () => {
  closeSync(record);
  process.exit(0);
});
