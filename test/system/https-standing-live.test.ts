/**
 * What a change of standing does over HTTPS: d1 has connections of every kind on each of two workers, in both versions
 * of TLS, with two certificates, and tickets to resume them. When the command returns they are gone, within a second,
 * and it cannot come back; d2 notices nothing.
 */
import assert from 'node:assert/strict';
import { setInterval as ticks } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import { test } from 'node:test';
import type { Identity } from '../harness/gateway.ts';
import { jsonOf, problemCode } from '../harness/https-answer.ts';
import type { HttpAnswer } from '../harness/https-answer.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import type { HttpsOptions } from '../harness/https-device.ts';
import { RawHttps } from '../harness/https-raw.ts';
import { requestText } from '../harness/https-text.ts';
import { makeRequest } from '../harness/openssl.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { runningMs, within } from '../harness/waiting.ts';
import { onEachWorker } from '../harness/worker-of.ts';

const { gateway, connect } = await sharedGateway({
  workers: 2,
  config: [
    // As long as can be: the end of a period would be the end of all tickets.
    'tls: { ticketRotation: 24d }',
    'routes: { telemetry: { rate: [] } }',
    'limits:',
    // Nothing but the change of standing ends what is half sent, however long all of it takes to open.
    '  requestHeaders: 5m',
    '  request: 5m',
    '  connectionsPerIdentity: 64',
    '  commandBytesPerDevice: 16MiB',
    '  identityRates: { device: [] }',
  ].join('\n'),
});
const port = gateway.httpsPort;
const { workers } = gateway.run();
const be = await gateway.service('be', 'backend');
const d2 = await gateway.device('d2');

type TlsVersion = 'TLSv1.2' | 'TLSv1.3';
const tlsVersions: readonly TlsVersion[] = ['TLSv1.2', 'TLSv1.3'];

/** From the return of the command to the end of every connection: a second, and one for a machine with other work. */
const endsWithinMs = 1_000;

const time = requestText('GET', '/api/v1/time');
const reading = requestText('POST', '/api/v1/telemetry', '{}');
const poll = requestText('GET', '/api/v1/commands?wait=60');

interface Kind {
  readonly name: string;
  /** Brings the connection into the state in which the change finds it. */
  readonly begin: (options: HttpsOptions) => Promise<Live>;
  /** What is said to a request that waits. */
  readonly told: number | undefined;
}

interface Live extends Disposable {
  readonly address: string;
  readonly ticket: Buffer;
  readonly ended: Promise<{ readonly at: number; readonly complete?: boolean }>;
  /** The last answer, when one is expected. */
  readonly answer: () => Promise<HttpAnswer>;
}

async function rawly(options: HttpsOptions, sent: string): Promise<Live> {
  const raw = await RawHttps.open(options);
  raw.send(time);
  assert.equal((await raw.answer()).status, 200);
  raw.send(sent);
  return {
    address: raw.address,
    ticket: ticketOf(raw.socket),
    ended: raw.ended,
    answer: () => raw.answer(),
    [Symbol.dispose]: () => raw[Symbol.dispose](),
  };
}

/** TLS 1.3 sends its tickets after the handshake: there is one as soon as something else has arrived. */
function ticketOf(socket: TLSSocket): Buffer {
  const ticket = socket.getSession();
  assert.ok(ticket !== undefined);
  return ticket;
}

const kinds: readonly Kind[] = [
  { name: 'kept-alive', told: undefined, begin: (options) => rawly(options, '') },
  { name: 'long poll', told: 403, begin: (options) => rawly(options, poll) },
  { name: 'half a head', told: undefined, begin: (options) => rawly(options, 'GET /api/v1/ti') },
  { name: 'half a body', told: 403, begin: (options) => rawly(options, reading.slice(0, -1)) },
  {
    name: 'event stream',
    told: undefined,
    begin: async (options) => {
      const device = new HttpsDevice(options);
      const stream = await device.eventStream();
      const [socket] = device.sockets;
      assert.ok(socket !== undefined);
      return {
        address: `${socket.localAddress ?? ''}:${socket.localPort ?? 0}`,
        ticket: ticketOf(socket),
        ended: stream.ended,
        answer: () => Promise.reject(new Error('a stream has no last answer')),
        [Symbol.dispose]: () => device[Symbol.dispose](),
      };
    },
  },
];

interface Connection extends Live {
  readonly identity: Identity;
  readonly tls: TlsVersion;
  readonly kind: Kind;
}

/** One connection of every kind, certificate, TLS version and worker. */
async function connectionsEverywhere(identities: readonly Identity[]): Promise<Connection[]> {
  const connections: Connection[] = [];
  for (const identity of identities) {
    for (const tls of tlsVersions) {
      for (const kind of kinds) {
        const found = await onEachWorker(gateway, workers, async () => ({
          client: await kind.begin({ port, identity, minVersion: tls, maxVersion: tls }),
        }));
        for (const { client } of found.values())
          connections.push({ ...client, identity, tls, kind });
      }
    }
  }
  return connections;
}

/** Runs the command; every connection must have ended a second after it returned. */
async function cutOff(
  action: string,
  id: string,
  connections: readonly Connection[],
): Promise<void> {
  await gateway.ok('device', action, id);
  const returned = runningMs();
  for (const { kind, tls, ended, answer } of connections) {
    const what = `${kind.name}, ${tls}, after ${action}`;
    const { at, complete = true } = await within(ended, 5_000, `the end of: ${what}`);
    assert.ok(complete, `${what}: it broke off`);
    assert.ok(at - returned < endsWithinMs, `${what}: ended ${at - returned} ms after`);
    if (kind.told === undefined) continue;
    const last = await answer();
    assert.deepEqual([last.status, problemCode(last)], [kind.told, 'standing'], what);
  }
}

interface Attempt extends Disposable {
  readonly address: string;
  readonly raw: RawHttps;
}

async function attempt(options: HttpsOptions): Promise<Attempt> {
  const raw = await RawHttps.open(options);
  // A request is what is answered, and what a refusal is written down with.
  return { raw, address: raw.address, [Symbol.dispose]: () => raw[Symbol.dispose]() };
}

/** On every worker, with a new handshake and with each ticket, each of `requests` gets its status. */
async function assertEverywhere(
  connections: readonly Connection[],
  requests: readonly (readonly [text: string, status: number])[],
): Promise<void> {
  for (const { identity, tls, ticket, kind } of connections) {
    if (kind !== kinds[0]) continue;
    for (const session of [undefined, ticket]) {
      for (const [text, status] of requests) {
        const found = await onEachWorker(gateway, workers, async () => {
          const client = await attempt({
            port,
            identity,
            minVersion: tls,
            maxVersion: tls,
            session,
          });
          assert.equal(client.raw.resumed, session !== undefined);
          client.raw.send(text);
          const answer = await client.raw.answer();
          const what = `${tls}, ${session === undefined ? 'new' : 'resumed'}: ${text}`;
          assert.equal(answer.status, status, what);
          if (status === 403) {
            assert.equal(problemCode(answer), 'standing', what);
            assert.deepEqual(await client.raw.answersUntilClose(), [], what);
          }
          return { client };
        });
        for (const { client } of found.values()) client[Symbol.dispose]();
      }
    }
  }
}

const refusals: Readonly<Record<string, readonly (readonly [string, number])[]>> = {
  suspend: [time, reading, poll].map((text) => [text, 403] as const),
  quarantine: [
    [time, 200],
    [reading, 403],
    [poll, 403],
    [requestText('DELETE', '/api/v1/commands/1'), 403],
    [requestText('GET', '/'), 403],
    [requestText('POST', '/api/v1/time', ''), 403],
  ],
};

/** A new device with two certificates: the one it was created with, and one for a key of its own. */
async function deviceWithTwoCertificates(id: string): Promise<readonly [Identity, Identity]> {
  const first = await gateway.device(id);
  return [first, await enrolAgain(id, 'second')];
}

async function enrolAgain(id: string, name: string): Promise<Identity> {
  const { key, csr } = makeRequest(gateway.at(id, name), id);
  const crt = gateway.at(id, name, `${id}.crt`);
  await gateway.ok('device', 'enroll', id, '--csr', csr, '--out', crt);
  return { id, key, crt, ca: be.ca };
}

/** The answer to one poll after the other, as soon as there is a command. */
async function polled(device: HttpsDevice): Promise<HttpAnswer> {
  for (;;) {
    const answer = await device.request('GET', '/api/v1/commands?wait=60');
    if (answer.status !== 204) return answer;
  }
}

/** d2 lives through everything that `happens`: its readings arrive, its poll waits, over the connections it has. */
async function undisturbed(happens: () => Promise<void>): Promise<void> {
  using device = HttpsDevice.of(gateway, d2);
  using waiting = HttpsDevice.of(gateway, d2);
  using backend = await connect(be, { clientId: 'be' });
  assert.deepEqual(await backend.subscribe('devices/d2/telemetry'), [1]);
  const command = polled(waiting);
  const stop = new AbortController();
  let sent = 0;
  const publishing = (async () => {
    for await (const _ of ticks(50)) {
      if (stop.signal.aborted) return;
      const answer = await device.post('telemetry', `${sent + 1}`);
      assert.equal(answer.status, 202);
      sent += 1;
    }
  })();
  try {
    await happens();
  } finally {
    stop.abort();
    await publishing;
  }
  await backend.message(({ payload }) => payload === `${sent}`);
  assert.deepEqual(
    backend.messages.map(({ payload }) => payload),
    Array.from({ length: sent }, (_, n) => `${n + 1}`),
  );
  assert.ok(sent > 0, 'd2 published nothing meanwhile');
  assert.equal(device.sockets.length, 1);
  await gateway.ok('command', 'send', 'd2', 'still-there');
  const [given] = jsonOf(await command) as { readonly id: string }[]; // as documented
  assert.ok(given !== undefined);
  const acknowledged = await waiting.request('DELETE', `/api/v1/commands/${given.id}`);
  assert.equal(acknowledged.status, 204);
}

for (const { loses, regains } of [
  { loses: 'suspend', regains: 'resume' },
  { loses: 'quarantine', regains: 'release' },
]) {
  test(`${loses} ends every connection at once and ${regains} brings the device back`, async () => {
    const id = `for-${loses}`;
    const connections = await connectionsEverywhere(await deviceWithTwoCertificates(id));
    await undisturbed(async () => {
      await cutOff(loses, id, connections);
      await assertEverywhere(connections, refusals[loses] ?? []);
    });
    await gateway.ok('device', regains, id);
    await assertEverywhere(connections, [
      [time, 200],
      [reading, 202],
    ]);
  });
}

test('revoke ends every connection at once, for good; reinstate lets the id enrol again', async () => {
  const id = 'for-revoke';
  const connections = await connectionsEverywhere(await deviceWithTwoCertificates(id));
  const everything = [time, reading, poll].map((text) => [text, 403] as const);
  await undisturbed(async () => {
    await cutOff('revoke', id, connections);
    await assertEverywhere(connections, everything);
  });
  await gateway.ok('device', 'reinstate', id);
  await assertEverywhere(connections, everything);
  using fresh = HttpsDevice.of(gateway, await enrolAgain(id, 'third'));
  assert.equal((await fresh.post('telemetry', '{}')).status, 202);
  await assertEverywhere(connections, everything);
});

test('a quarantined device that asks for the time loses that connection when it is suspended', async () => {
  const identity = await gateway.device('twice');
  await gateway.ok('device', 'quarantine', 'twice');
  using raw = await RawHttps.open({ port, identity });
  raw.send(time);
  assert.equal((await raw.answer()).status, 200);
  await gateway.ok('device', 'suspend', 'twice');
  const returned = runningMs();
  const { at } = await within(raw.ended, 5_000, 'the end of the connection');
  assert.ok(at - returned < endsWithinMs, `ended ${at - returned} ms after`);
});

test('a connection that has said nothing yet ends too', async () => {
  const identity = await gateway.device('between');
  using raw = await RawHttps.open({ port, identity });
  await gateway.ok('device', 'suspend', 'between');
  const returned = runningMs();
  const { at } = await within(raw.ended, 5_000, 'the end of a connection that said nothing');
  assert.ok(at - returned < endsWithinMs, `ended ${at - returned} ms after`);
});

test('a stream that is not read is cut off all the same', async () => {
  const identity = await gateway.device('deaf');
  using raw = await RawHttps.open({ port, identity });
  raw.socket.pause();
  raw.send(requestText('GET', '/api/v1/commands', undefined, 'Accept: text/event-stream'));
  // More than the kernel's buffers of both ends hold.
  using backend = await connect(be, { clientId: 'commands' });
  for (let n = 0; n < 40; n += 1) {
    assert.equal(await backend.publish('devices/deaf/commands/large', 'x'.repeat(200_000)), 0);
  }
  await gateway.ok('device', 'suspend', 'deaf');
  const returned = runningMs();
  // Writing is how a peer that does not read finds out.
  const writing = setInterval(() => raw.send('x'), 25);
  try {
    const { at } = await within(raw.ended, 5_000, 'the end of a stream that is not read');
    assert.ok(at - returned < endsWithinMs, `ended ${at - returned} ms after`);
  } finally {
    clearInterval(writing);
  }
});
