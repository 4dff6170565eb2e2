/** How an HTTPS connection becomes one of MQTT: what is judged, what is let go of, and what may happen meanwhile. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { SecureConnection } from '../../src/worker/transport/secure-connection.ts';
import { problemCode } from '../harness/https-answer.ts';
import { Surroundings } from '../harness/https-listener.ts';
import type { SurroundingOptions } from '../harness/https-listener.ts';
import type { RawHttps } from '../harness/https-raw.ts';
import { assertOpens, handshakeText, sampleKey } from '../harness/raw-websocket.ts';
import { until, within } from '../harness/waiting.ts';
import { clientFrame, opcode, ServerFrameReader } from '../harness/websocket-bytes.ts';

const time = 'GET /api/v1/time HTTP/1.1\r\nHost: x\r\n\r\n';

async function setUp(t: TestContext, options: SurroundingOptions = {}) {
  const accepted: SecureConnection[] = [];
  // The HTTPS listener is not to end them, and waits for none of them: before its end, which waits for all sockets.
  t.after(() => {
    for (const connection of accepted) connection.destroy();
  });
  const acceptMqtt = (connection: SecureConnection): void => void accepted.push(connection);
  const surroundings = await Surroundings.of(t, {
    ...options,
    ports: { acceptMqtt, ...options.ports },
  });
  return { surroundings, accepted };
}

async function opened(raw: RawHttps, accepted: readonly SecureConnection[], n = 1) {
  raw.send(handshakeText());
  assertOpens(await raw.answer(), sampleKey);
  const connection = accepted[n - 1];
  assert.ok(connection !== undefined);
  return connection;
}

test('the facts of the handshake are those of the connection, and its bytes are MQTT', async (t) => {
  const { surroundings, accepted } = await setUp(t);
  const raw = await surroundings.raw(t);
  const connection = await opened(raw, accepted);
  assert.equal(`${connection.remoteAddress}:${connection.remotePort}`, raw.address);
  const certificate = raw.socket.getX509Certificate()?.raw;
  assert.ok(certificate !== undefined && connection.peerCertificate?.equals(certificate));
  assert.equal(connection.verifyError, undefined);
  assert.deepEqual([connection.protocol, connection.resumed], ['TLSv1.3', false]);
  assert.ok(connection.cipher.startsWith('TLS_'));
  const { promise, resolve } = Promise.withResolvers<string>();
  connection.onData = (chunk) => resolve(chunk.toString());
  raw.send(clientFrame({ opcode: opcode.binary, payload: 'to the gateway' }));
  assert.equal(await within(promise, 5_000, 'what was sent'), 'to the gateway');
  connection.write(Buffer.from('to the client'));
  const frame = await until('a frame', 5_000, () => new ServerFrameReader().push(raw.rest)[0]);
  assert.equal(frame.payload.toString(), 'to the client');
});

test('HTTP has let go of it: no connection, no standing, no drain of HTTPS reaches it', async (t) => {
  const { surroundings, accepted } = await setUp(t);
  const raw = await surroundings.raw(t);
  const connection = await opened(raw, accepted);
  assert.deepEqual([surroundings.listener.connections, surroundings.listener.sessions], [0, 0]);
  let closed = 0;
  connection.onClose = () => {
    closed += 1;
  };
  surroundings.setStanding('device/d1', 'suspended');
  await surroundings.listener.drain(0, 0);
  // It still answers.
  raw.send(clientFrame({ opcode: opcode.ping, payload: 'there?' }));
  const pong = await until('a pong', 5_000, () => new ServerFrameReader().push(raw.rest)[0]);
  assert.equal(pong.opcode, opcode.pong);
  assert.deepEqual([closed, raw.isEnded], [0, false]);
  raw[Symbol.dispose]();
  await until('its end', 5_000, () => closed === 1);
});

test('it is one of the HTTPS connections of its identity until it has authenticated over MQTT', async (t) => {
  const limits = { connectionsPerIdentity: 2 };
  const { surroundings, accepted } = await setUp(t, { limits });
  const first = await opened(await surroundings.raw(t), accepted);
  const second = await surroundings.raw(t);
  await opened(second, accepted, 2);
  const ask = async (): Promise<number> => {
    const raw = await surroundings.raw(t);
    raw.send(time);
    const { status } = await raw.answer();
    raw[Symbol.dispose]();
    return status;
  };
  assert.equal(await ask(), 507);
  first.authenticated();
  await until('a place', 5_000, async () => (await ask()) === 200);
  // The other's place is free when it is gone.
  const third = await surroundings.raw(t);
  third.send(time);
  assert.equal((await third.answer()).status, 200);
  assert.equal(await ask(), 507);
  second[Symbol.dispose]();
  await until('another place', 5_000, async () => (await ask()) === 200);
});

test('a handshake is charged like any other request', async (t) => {
  const { surroundings, accepted } = await setUp(t, {
    config: 'limits: { identityRates: { device: { limit: 1/h, burst: 1 } } }',
  });
  await opened(await surroundings.raw(t), accepted);
  await opened(await surroundings.raw(t), accepted, 2);
  const raw = await surroundings.raw(t);
  raw.send(handshakeText());
  const answer = await raw.answer();
  assert.deepEqual([answer.status, problemCode(answer)], [429, 'rate']);
  assert.deepEqual(await raw.answersUntilClose(), []);
  assert.equal(accepted.length, 2);
});

test('what changes while the rate is asked for elsewhere is seen', async (t) => {
  for (const change of ['suspended', 'gone'] as const) {
    await t.test(change, async (each) => {
      const { promise: asked, resolve } = Promise.withResolvers<void>();
      const { promise: answer, resolve: answerNow } = Promise.withResolvers<boolean>();
      const { surroundings, accepted } = await setUp(each, {
        ports: {
          claim: async () => ({
            rates: {
              take: () => {
                resolve();
                return answer;
              },
            },
            release: () => {},
          }),
        },
      });
      const raw = await surroundings.raw(each);
      raw.send(handshakeText());
      await within(asked, 5_000, 'the question');
      if (change === 'suspended') {
        surroundings.setStanding('device/d1', 'suspended');
        await within(raw.ended, 5_000, 'the end');
      } else {
        raw[Symbol.dispose]();
        await until('the end', 5_000, () => surroundings.listener.connections === 0);
      }
      answerNow(true);
      // Everything that follows from it has happened by then.
      await new Promise((done) => setImmediate(done));
      assert.deepEqual(accepted, []);
    });
  }
});

test('none is opened while the gateway stops', async (t) => {
  const { surroundings, accepted } = await setUp(t);
  const early = await surroundings.raw(t, 'd2');
  early.send(time);
  assert.equal((await early.answer()).status, 200);
  const raw = await surroundings.raw(t);
  raw.send(time);
  assert.equal((await raw.answer()).status, 200);
  // In steps of 6 s: the first connection goes first, this one is still there.
  const drained = surroundings.listener.drain(120_000, 1_000);
  await within(early.ended, 5_000, 'the end of the first');
  raw.send(handshakeText());
  const answer = await raw.answer();
  assert.deepEqual([answer.status, problemCode(answer)], [503, 'busy']);
  assert.deepEqual(accepted, []);
  await drained;
});

test('a defect in MQTT ends that connection alone', async (t) => {
  const { surroundings } = await setUp(t, {
    ports: {
      acceptMqtt: () => {
        throw new Error('planted');
      },
    },
  });
  const raw = await surroundings.raw(t);
  raw.send(handshakeText());
  await within(raw.ended, 5_000, 'the end');
  const other = await surroundings.raw(t, 'd2');
  other.send(time);
  assert.equal((await other.answer()).status, 200);
  assert.equal(surroundings.faults.length, 1);
  surroundings.faults.length = 0;
});

test('a frame that breaks the rules is logged once, with who sent it', async (t) => {
  const { surroundings, accepted } = await setUp(t);
  const raw = await surroundings.raw(t);
  const connection = await opened(raw, accepted);
  connection.onData = () => {};
  raw.send(clientFrame({ opcode: opcode.text, payload: 'x' }));
  await within(raw.ended, 5_000, 'the end');
  assert.ok(surroundings.counted.includes('refused{code="malformed"}'));
  const lines = surroundings.lines.filter((line) => Reflect.get(line, 'message') === 'refused');
  assert.equal(lines.length, 1);
  assert.deepEqual(
    { ...lines[0], ssl_client_s_dn: '' },
    {
      ssl_client_s_dn: '',
      principal: 'device/d1',
      remote: raw.address,
      resource: '/mqtt',
      code: 'malformed',
      detail: 'a text frame [MQTT-6.0.0-1]',
      message: 'refused',
    },
  );
});
