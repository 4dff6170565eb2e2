/**
 * A process full of clients that connect all at once, for tests that are about herds: they must not share their event
 * loop with whoever watches. Says on standard output, as a JSON line each, how many are in, every 100 ms and when all are
 * done; `again` on standard input has all of them lose their connections and come back at once. It ends with its input.
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { connect as tlsConnect, createSecureContext } from 'node:tls';
import type { SecureContext, TLSSocket } from 'node:tls';
import type { Identity } from './gateway.ts';
import { connectPacket, PacketReader, packetTypes, readConnack } from './mqtt-bytes.ts';
import type { TlsOptions } from './raw-mqtt.ts';

export interface HerdTask {
  readonly port: number;
  /** File with a JSON array of identities, which take turns. */
  readonly manifest: string;
  readonly clients: number;
  /** 250 clients come from each network, 127.x.y.0/24; this is the number of the first. */
  readonly firstNetwork: number;
  /** Whether a client that is not let in tries again, after a pause that doubles. */
  readonly retries: boolean;
}

export interface HerdLine {
  /** How often the herd has begun. */
  readonly round: number;
  readonly inside: number;
  /** Not let in, or closed since. */
  readonly failed: number;
  /** How long each that is in took, from the beginning of the round, in the order in which they came in. */
  readonly elapsedMs: readonly number[];
}

const clientsOfNetwork = 250;
const firstPauseMs = 1_000;
const longestPauseMs = 16_000;

// What the test wrote.
const task = JSON.parse(process.argv[2] ?? '') as HerdTask;
const identities = JSON.parse(readFileSync(task.manifest, 'utf8')) as readonly Identity[];
/** Made before the herd begins; those of one identity share one. */
const contexts: readonly SecureContext[] = identities.map(({ ca, crt, key }) =>
  createSecureContext({
    ca: readFileSync(ca),
    cert: readFileSync(crt),
    key: readFileSync(key),
  }),
);
const sockets = new Set<TLSSocket>();

let round = 0;
let began = 0;
let failed = 0;
let elapsedMs: number[] = [];

function say(): void {
  const line: HerdLine = { round, inside: elapsedMs.length, failed, elapsedMs };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function addressOf(index: number): string {
  const network = task.firstNetwork + Math.floor(index / clientsOfNetwork);
  return `127.${network >> 8}.${network & 0xff}.${1 + (index % clientsOfNetwork)}`;
}

function connect(index: number, pauseMs: number): void {
  const mine = round;
  const options: TlsOptions = {
    host: '127.0.0.1',
    port: task.port,
    servername: 'localhost',
    secureContext: contexts[index % contexts.length],
    localAddress: addressOf(index),
  };
  const socket = tlsConnect(options);
  sockets.add(socket);
  let isIn = false;
  const reader = new PacketReader();
  socket.on('error', () => {});
  socket.once('close', () => {
    sockets.delete(socket);
    if (mine !== round) return;
    if (isIn || !task.retries) {
      failed += 1;
      done();
      return;
    }
    const nextMs = Math.min(longestPauseMs, 2 * pauseMs);
    setTimeout(() => mine === round && connect(index, nextMs), pauseMs * (0.5 + Math.random()));
  });
  socket.on('data', (chunk: Buffer) => {
    for (const packet of reader.push(chunk)) {
      if (packet.type !== packetTypes.connack || readConnack(packet).code !== 0) continue;
      isIn = true;
      if (mine !== round) return;
      elapsedMs.push(Math.round(performance.now() - began));
      done();
    }
  });
  const clientId = `h${task.firstNetwork}-${index}`;
  // Nobody pings, and a round may take longer than any keep alive.
  socket.write(connectPacket({ version: 5, clientId, keepAlive: 0 }));
}

function done(): void {
  if (elapsedMs.length + failed >= task.clients) say();
}

function begin(): void {
  round += 1;
  for (const socket of sockets) socket.destroy();
  failed = 0;
  elapsedMs = [];
  began = performance.now();
  for (let index = 0; index < task.clients; index += 1) connect(index, firstPauseMs);
}

const orders = createInterface({ input: process.stdin });
orders.on('line', () => begin());
orders.once('close', () => process.exit());
setInterval(say, 100);
begin();
