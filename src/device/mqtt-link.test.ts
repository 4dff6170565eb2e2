import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:tls';
import type { Server, TLSSocket } from 'node:tls';
import { after, before, beforeEach, test } from 'node:test';
import { makeBackendCertificates } from '../../test/harness/backend-tls.ts';
import {
  packet as bytesOf,
  PacketReader,
  packetTypes,
  pubackPacket,
  publishPacket,
  readPuback,
  readPublish,
} from '../../test/harness/mqtt-bytes.ts';
import type { RawPacket } from '../../test/harness/mqtt-bytes.ts';
import { u16 } from '../../test/harness/mqtt-fields.ts';
import { encodeProperties } from '../../test/harness/mqtt-properties.ts';
import type { Property } from '../../test/harness/mqtt-properties.ts';
import { makeAuthority } from '../../test/harness/openssl.ts';
import { temporaryFolder } from '../../test/harness/temporary-folder.ts';
import { until } from '../../test/harness/waiting.ts';
import { systemClock } from '../common/base/clock.ts';
import type { Command } from './link.ts';
import { MqttLink } from './mqtt-link.ts';
import { clientContext } from './tls-client.ts';

const folder = temporaryFolder();
const { tls, ca, gateway } = makeBackendCertificates(folder.path);
const identity = {
  id: 'd1',
  privateKey: readFileSync(gateway.key, 'utf8'),
  certificateChain: readFileSync(gateway.crt, 'utf8'),
  root: readFileSync(ca, 'utf8'),
};

let server: Server;
let port = 0;
let socket: TLSSocket;
let received: RawPacket[] = [];
let resumed = false;
/** What the gateway answers to each type of packet. */
let answers = new Map<number, (packet: RawPacket) => Buffer | undefined>();

function connack(code: number, properties: readonly Property[] = []): Buffer {
  return bytesOf(packetTypes.connack, 0, [Buffer.of(0, code), encodeProperties(properties)]);
}

function suback(code: number): Buffer {
  return bytesOf(packetTypes.suback, 0, [u16(1), Buffer.of(0, code)]);
}

before(async () => {
  server = createServer(
    {
      cert: readFileSync(tls.certificate),
      key: readFileSync(tls.key),
      ca: readFileSync(ca),
      requestCert: true,
      rejectUnauthorized: true,
      // Without it a server that asks for certificates resumes no session.
      sessionIdContext: 'test',
    },
    (opened) => {
      socket = opened;
      resumed = opened.isSessionReused();
      const reader = new PacketReader();
      opened.on('error', () => {});
      opened.on('data', (chunk: Buffer) => {
        for (const packet of reader.push(chunk)) {
          received.push(packet);
          const answer = answers.get(packet.type)?.(packet);
          if (answer !== undefined) opened.write(answer);
        }
      });
    },
  );
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  // A server that listens on a port has an address that is none of a pipe.
  ({ port } = server.address() as AddressInfo);
});

beforeEach(() => {
  received = [];
  answers = new Map<number, (packet: RawPacket) => Buffer | undefined>([
    [packetTypes.connect, () => connack(0)],
    [packetTypes.subscribe, () => suback(1)],
    [packetTypes.publish, (packet) => pubackPacket(readPublish(5, packet).packetId ?? 0)],
  ]);
});

after(() => {
  server.close();
  folder[Symbol.dispose]();
});

interface Change {
  readonly root?: string;
  readonly obey?: (command: Command) => Promise<void>;
  readonly resumption?: { session: Buffer | undefined };
}

function makeLink({ root = identity.root, obey, resumption }: Change = {}): MqttLink {
  return new MqttLink({
    id: 'd1',
    address: { host: 'localhost', port },
    context: clientContext({ ...identity, root }),
    clock: systemClock,
    resumption: resumption ?? { session: undefined },
    events: { command: obey ?? (() => Promise.resolve()) },
  });
}

const ofType = (type: number): RawPacket[] => received.filter((packet) => packet.type === type);
const bodies = (): string[] =>
  ofType(packetTypes.publish).map((packet) => readPublish(5, packet).payload);
const acknowledged = (): number[] =>
  ofType(packetTypes.puback).map((packet) => readPuback(packet).packetId);

function command(packetId: number, payload: string, properties: readonly Property[] = []): Buffer {
  const topic = 'devices/d1/commands/fan/speed';
  return publishPacket({ version: 5, topic, payload, qos: 1, packetId, properties });
}

test('it connects with a will, subscribes to its commands, publishes, and says goodbye', async () => {
  const link = makeLink();
  await link.open();
  await link.publish('telemetry', Buffer.from('{"seq":1}'));
  await link.publish('status', Buffer.from('{"online":true}'), { retain: true });
  link.close();
  await until('the goodbye', 5_000, () => ofType(packetTypes.disconnect).length > 0);
  const [connect] = ofType(packetTypes.connect);
  assert.match(connect?.body.toString('latin1') ?? '', /devices\/d1\/status[^]*\{"online":false\}/);
  const [subscribe] = ofType(packetTypes.subscribe);
  assert.match(subscribe?.body.toString('latin1') ?? '', /devices\/d1\/commands\/#\x01$/);
  const messages = ofType(packetTypes.publish).map((packet) => readPublish(5, packet));
  assert.deepEqual(
    messages.map(({ topic, payload, qos, retain }) => [topic, payload, qos, retain]),
    [
      ['devices/d1/telemetry', '{"seq":1}', 1, false],
      ['devices/d1/status', '{"online":true}', 1, true],
    ],
  );
});

test('a refusal at the door is the reason of the end', async () => {
  for (const [code, expected] of [
    [0x86, 'unauthenticated'],
    [0x8a, 'standing'],
    [0x89, 'busy'],
    [0x87, 'forbidden'],
    [0x97, 'quota'],
    [0x88, 'unavailable'],
  ] as const) {
    answers.set(packetTypes.connect, () => connack(code));
    const link = makeLink();
    await assert.rejects(link.open(), { code: expected });
    assert.equal((await link.ended).code, expected);
  }
});

test('a device that may not have its commands is not let in by halves', async () => {
  answers.set(packetTypes.subscribe, () => suback(0x87));
  await assert.rejects(makeLink().open(), { code: 'forbidden' });
});

test('a refused message rejects with its code, and the link goes on', async () => {
  const link = makeLink();
  await link.open();
  for (const [code, expected] of [
    [0x97, 'rate'],
    [0x99, 'schema'],
    [0x87, 'forbidden'],
    [0x83, 'unavailable'],
  ] as const) {
    answers.set(packetTypes.publish, (packet) =>
      bytesOf(packetTypes.puback, 0, [u16(readPublish(5, packet).packetId ?? 0), Buffer.of(code)]),
    );
    await assert.rejects(link.publish('telemetry', Buffer.from('{}')), {
      name: 'Refusal',
      code: expected,
    });
  }
  link.close();
});

test('no more is in flight than the gateway takes, and the order stays', async () => {
  answers.set(packetTypes.connect, () => connack(0, [['receiveMaximum', 2]]));
  answers.delete(packetTypes.publish);
  const link = makeLink();
  await link.open();
  const sent = ['1', '2', '3', '4'].map((seq) => link.publish('telemetry', Buffer.from(seq)));
  await until('two messages', 5_000, () => bodies().length === 2);
  const [first] = ofType(packetTypes.publish);
  socket.write(pubackPacket(readPublish(5, first!).packetId ?? 0));
  await sent[0];
  await until('a third message', 5_000, () => bodies().length === 3);
  assert.deepEqual(bodies(), ['1', '2', '3']);
  link.close();
  for (const promise of sent.slice(1)) await assert.rejects(promise, { code: 'io' });
});

test('the end that the gateway announces is the reason for whatever waits', async () => {
  answers.delete(packetTypes.publish);
  const link = makeLink();
  await link.open();
  const sent = link.publish('telemetry', Buffer.from('{}'));
  socket.write(bytesOf(packetTypes.disconnect, 0, [Buffer.of(0x98)]));
  await assert.rejects(sent, { code: 'standing' });
  assert.equal((await link.ended).code, 'standing');
  await assert.rejects(link.publish('telemetry', Buffer.from('{}')), { code: 'io' });
});

test('a connection that just closes is over', async () => {
  const link = makeLink();
  await link.open();
  socket.destroy();
  assert.equal((await link.ended).code, 'io');
});

test('commands are acknowledged when they are done, in the order in which they came', async () => {
  const work = new Map<string, () => void>();
  const names: string[] = [];
  const correlations: (string | undefined)[] = [];
  const link = makeLink({
    obey: ({ name, payload, correlationData }) => {
      names.push(name);
      correlations.push(correlationData?.toString());
      return new Promise((resolve) => void work.set(payload.toString(), resolve));
    },
  });
  await link.open();
  socket.write(command(11, 'a', [['correlationData', Buffer.from('x')]]));
  socket.write(command(12, 'b'));
  await until('the first command', 5_000, () => work.get('a'));
  assert.deepEqual(acknowledged(), []);
  assert.equal(work.has('b'), false, 'the second waits for the first');
  work.get('a')?.();
  await until('the second command', 5_000, () => work.get('b'));
  await until('the first acknowledgement', 5_000, () => acknowledged().length === 1);
  work.get('b')?.();
  await until('the second acknowledgement', 5_000, () => acknowledged().length === 2);
  assert.deepEqual(acknowledged(), [11, 12]);
  assert.deepEqual(names, ['fan/speed', 'fan/speed']);
  assert.deepEqual(correlations, ['x', undefined]);
  link.close();
});

test('a gateway that gives more commands than were asked for is none', async () => {
  const link = makeLink({ obey: () => new Promise(() => {}) });
  await link.open();
  for (let packetId = 1; packetId <= 9; packetId += 1) socket.write(command(packetId, 'x'));
  assert.equal((await link.ended).code, 'malformed');
});

test('bytes that are no MQTT end the link', async () => {
  const link = makeLink();
  await link.open();
  socket.write('HTTP/1.1 400 Bad Request\r\n\r\n');
  assert.equal((await link.ended).code, 'malformed');
});

test('an acknowledgement of nothing ends the link', async () => {
  const link = makeLink();
  await link.open();
  socket.write(pubackPacket(77));
  assert.equal((await link.ended).code, 'malformed');
});

test('the next connection resumes the TLS session of the last one', async () => {
  const resumption: { session: Buffer | undefined } = { session: undefined };
  const first = makeLink({ resumption });
  await first.open();
  await until('a ticket', 5_000, () => resumption.session);
  assert.equal(resumed, false);
  first.close();
  const second = makeLink({ resumption });
  await second.open();
  assert.equal(resumed, true);
  second.close();
});

test('a gateway with a certificate of another root is none, and learns nothing', async () => {
  const root = readFileSync(makeAuthority(folder.at('other'), 'other').crt, 'utf8');
  await assert.rejects(makeLink({ root }).open(), { code: 'invalid-certificate' });
  assert.deepEqual(ofType(packetTypes.connect), []);
});
