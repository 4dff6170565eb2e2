/**
 * What a change of standing does: d1 has sessions on each of two workers, in both versions of MQTT and of TLS, with two
 * certificates, and tickets to resume them. When the command returns it is out, within a second, and cannot come back;
 * d2 notices nothing.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import type { Identity } from '../harness/gateway.ts';
import { pingreqPacket } from '../harness/mqtt-bytes.ts';
import type { MqttVersion } from '../harness/mqtt-bytes.ts';
import { makeRequest } from '../harness/openssl.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { SteadyPublisher } from '../harness/steady-publisher.ts';
import { runningMs, within } from '../harness/waiting.ts';
import { onEachWorker } from '../harness/worker-of.ts';

const gateway = await startGateway({
  workers: 2,
  config: [
    'routes:',
    '  telemetry: { match: devices/+/telemetry, rate: { limit: 1000/s, burst: 1000 } }',
    'limits: { sessionsPerIdentity: 64 }',
    // As long as can be: the end of a period would be the end of all tickets.
    'tls: { ticketRotation: 24d }',
  ].join('\n'),
});
after(async () => {
  await gateway.stop();
  await gateway[Symbol.asyncDispose]();
});

const port = gateway.mqttsPort;
const workers = gateway.run().workers;
const be = await gateway.service('be', 'backend');
const d2 = await gateway.device('d2');

type TlsVersion = 'TLSv1.2' | 'TLSv1.3';
const tlsVersions: readonly TlsVersion[] = ['TLSv1.2', 'TLSv1.3'];

/** From the return of the command to the end of every connection: a second, and one for a machine with other work. */
const endsWithinMs = 1_000;

let clientIds = 0;

interface Attempt {
  readonly identity: Identity;
  readonly tls: TlsVersion;
  readonly version?: MqttVersion;
  readonly session?: Buffer | undefined;
}

async function connect({ identity, tls, version = 5, session }: Attempt) {
  const maxVersion = tls;
  const client = await RawMqtt.open({ port, identity, version, maxVersion, session });
  clientIds += 1;
  const { code } = await client.connect({ clientId: `c${clientIds}` });
  return { client, code };
}

interface LiveSession {
  readonly client: RawMqtt;
  readonly ticket: Buffer;
  readonly identity: Identity;
  readonly tls: TlsVersion;
}

/** One session for every certificate, TLS version, MQTT version and worker. */
async function sessionsEverywhere(identities: readonly Identity[]): Promise<LiveSession[]> {
  const sessions: LiveSession[] = [];
  for (const identity of identities) {
    for (const tls of tlsVersions) {
      for (const version of [4, 5] as const) {
        const found = await onEachWorker(gateway, workers, () =>
          connect({ identity, tls, version }),
        );
        for (const { client, code } of found.values()) {
          assert.equal(code, 0);
          sessions.push({ client, identity, tls, ticket: await client.session() });
        }
      }
    }
  }
  return sessions;
}

/** A device that has lost its standing is refused on every worker, with a new handshake and with each ticket. */
async function assertRefusedEverywhere(sessions: readonly LiveSession[]): Promise<void> {
  const tried = new Set<string>();
  for (const { identity, tls, ticket } of sessions) {
    const kind = `${identity.crt} ${tls}`;
    if (tried.has(kind)) continue;
    tried.add(kind);
    for (const session of [undefined, ticket]) {
      const found = await onEachWorker(gateway, workers, () => connect({ identity, tls, session }));
      for (const { client, code } of found.values()) {
        assert.equal(code, 0x8a, `${kind}, ${session === undefined ? 'new' : 'resumed'}`);
        await client.ended;
      }
      using old = (await connect({ identity, tls, version: 4, session })).client;
      await old.ended;
    }
  }
}

async function assertWelcomeWithTickets(sessions: readonly LiveSession[]): Promise<void> {
  for (const { identity, tls, ticket } of sessions.filter(({ client }) => client.version === 5)) {
    const { client, code } = await connect({ identity, tls, session: ticket });
    assert.equal(code, 0);
    client[Symbol.dispose]();
  }
}

/** Runs the command; every session must have ended a second after it returned, and said why where it can. */
async function cutOff(action: string, id: string, sessions: readonly LiveSession[]): Promise<void> {
  await gateway.ok('device', action, id);
  const returned = runningMs();
  const endings = await within(
    Promise.all(sessions.map(({ client }) => client.ended)),
    5_000,
    `the end of every session after ${action}`,
  );
  for (const [n, ending] of endings.entries()) {
    const session = sessions[n];
    assert.ok(session !== undefined);
    assert.ok(
      ending.at - returned < endsWithinMs,
      `${session.tls}, version ${session.client.version}: ended ${ending.at - returned} ms after`,
    );
    assert.equal(ending.disconnect, session.client.version === 5 ? 0x98 : undefined);
  }
}

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

/** d2 and the backend live through everything that `happens`: one connection each, every message arrives once. */
async function undisturbed(happens: () => Promise<void>): Promise<void> {
  using device = await RawMqtt.open({ port, identity: d2 });
  using backend = await RawMqtt.open({ port, identity: be });
  assert.equal((await device.connect({ clientId: 'd2' })).code, 0);
  assert.equal((await backend.connect({ clientId: 'be' })).code, 0);
  assert.deepEqual(await backend.subscribe('devices/d2/telemetry'), [1]);
  const publisher = new SteadyPublisher(device, 'devices/d2/telemetry');
  try {
    await happens();
  } finally {
    const sent = await publisher.stop();
    await backend.message(({ payload }) => payload === `{"n":${sent}}`);
    const numbers = backend.messages.map(({ payload }) => payload);
    assert.deepEqual(
      numbers,
      Array.from({ length: sent }, (_, n) => `{"n":${n + 1}}`),
    );
    assert.ok(sent > 0, 'd2 published nothing meanwhile');
    assert.ok(!device.isEnded && !backend.isEnded);
  }
}

test('a ticket is good on every worker, in both versions of TLS', async () => {
  const identity = await gateway.device('roamer');
  for (const tls of tlsVersions) {
    const { client, code } = await connect({ identity, tls });
    assert.equal(code, 0);
    const session = await client.session();
    const resumed = await onEachWorker(gateway, workers, () => connect({ identity, tls, session }));
    for (const again of resumed.values()) {
      assert.equal(again.code, 0);
      assert.equal(again.client.resumed, true, tls);
      again.client[Symbol.dispose]();
    }
    client[Symbol.dispose]();
  }
});

for (const { loses, regains } of [
  { loses: 'suspend', regains: 'resume' },
  { loses: 'quarantine', regains: 'release' },
]) {
  test(`${loses} ends every session at once and ${regains} brings the device back`, async () => {
    const id = `for-${loses}`;
    const sessions = await sessionsEverywhere(await deviceWithTwoCertificates(id));
    await undisturbed(async () => {
      await cutOff(loses, id, sessions);
      await assertRefusedEverywhere(sessions);
    });
    await gateway.ok('device', regains, id);
    await assertWelcomeWithTickets(sessions);
  });
}

test('revoke ends every session at once, for good; reinstate lets the id enrol again', async () => {
  const id = 'for-revoke';
  const certificates = await deviceWithTwoCertificates(id);
  const sessions = await sessionsEverywhere(certificates);
  await undisturbed(async () => {
    await cutOff('revoke', id, sessions);
    await assertRefusedEverywhere(sessions);
  });

  for (const action of ['resume', 'release']) {
    assert.notEqual((await gateway.cli('device', action, id)).code, 0, `${action} after revoke`);
  }
  const { csr } = makeRequest(gateway.at('too-early'), id);
  const out = gateway.at('too-early', 'x.crt');
  const early = await gateway.cli('device', 'enroll', id, '--csr', csr, '--out', out);
  assert.equal(early.code, 1, 'a revoked id was enrolled again');

  await gateway.ok('device', 'reinstate', id);
  await assertRefusedEverywhere(sessions);
  const fresh = await enrolAgain(id, 'third');
  for (const tls of tlsVersions) {
    const found = await onEachWorker(gateway, workers, () => connect({ identity: fresh, tls }));
    for (const { client, code } of found.values()) {
      assert.equal(code, 0);
      client[Symbol.dispose]();
    }
  }
  await assertRefusedEverywhere(sessions);
});

test('a service that is suspended loses its sessions and its tickets too', async () => {
  const identity = await gateway.service('reader', 'backend');
  const { client, code } = await connect({ identity, tls: 'TLSv1.3' });
  assert.equal(code, 0);
  const session = await client.session();
  await gateway.ok('service', 'suspend', 'reader');
  const returned = runningMs();
  const { at, disconnect } = await client.ended;
  assert.ok(at - returned < endsWithinMs);
  assert.equal(disconnect, 0x98);
  assert.equal((await connect({ identity, tls: 'TLSv1.3', session })).code, 0x8a);
  await gateway.ok('service', 'resume', 'reader');
  const again = await connect({ identity, tls: 'TLSv1.3', session });
  assert.equal(again.code, 0);
  again.client[Symbol.dispose]();
});

test('a session that does not answer its DISCONNECT is cut off all the same', async () => {
  const identity = await gateway.device('deaf');
  const { client, code } = await connect({ identity, tls: 'TLSv1.3' });
  assert.equal(code, 0);
  // It reads nothing any more, so it never answers the end of the gateway's side with its own, and goes on sending.
  client.socket.pause();
  const sending = setInterval(() => client.send(pingreqPacket()), 25);
  try {
    await gateway.ok('device', 'suspend', 'deaf');
    const returned = runningMs();
    const { at } = await within(client.ended, 5_000, 'the end of a session that does not read');
    assert.ok(at - returned < endsWithinMs, `ended ${at - returned} ms after`);
  } finally {
    clearInterval(sending);
  }
});
