/** Behind an L4 load balancer: who connects is who its PROXY header names, for limits, logs and clones. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect as tcpConnect } from 'node:net';
import { test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { connectPacket, PacketReader, packetTypes, readConnack } from '../harness/mqtt-bytes.ts';
import { proxyHeader } from '../harness/proxy-bytes.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { within } from '../harness/waiting.ts';

const balancer = '127.71.0.1';
const { gateway, port } = await sharedGateway({
  listener: 'mqtts: { host: 127.0.0.1, port: 0, proxy: [ 127.71.0.0/24, 2001:db8::/48 ] }',
  // No test waits for the header's time to be over; a client that has to wait for a processor is not cut off.
  config: 'limits: { sourceConnections: 2, proxyHeader: 30s }',
});
const d1 = await gateway.device('d1');

interface Outcome {
  readonly code: number | undefined;
  readonly client: TLSSocket;
}

/** MQTT over TLS over a connection that begins with these bytes. @returns no code when it was closed before CONNACK. */
async function connect(localAddress: string, first: Buffer, clientId: string): Promise<Outcome> {
  const socket = tcpConnect({ host: '127.0.0.1', port, localAddress });
  socket.on('error', () => {});
  socket.write(first);
  const client = tlsConnect({
    socket,
    servername: 'localhost',
    ca: readFileSync(d1.ca),
    cert: readFileSync(d1.crt),
    key: readFileSync(d1.key),
  });
  const reader = new PacketReader();
  const answered = new Promise<number | undefined>((resolve) => {
    client.on('data', (chunk: Buffer) => {
      for (const packet of reader.push(chunk)) {
        if (packet.type === packetTypes.connack) resolve(readConnack(packet).code);
      }
    });
    client.on('error', () => {});
    client.once('close', () => resolve(undefined));
  });
  client.write(connectPacket({ version: 5, clientId }));
  return { code: await within(answered, 10_000, 'CONNACK or the end'), client };
}

test('the source in the header of a load balancer is the source in the log', async () => {
  for (const [address, shown] of [
    ['198.51.100.7', '198.51.100.7:4711'],
    ['2001:db8:5::7', '2001:db8:5::7:4711'],
  ] as const) {
    const { code, client } = await connect(balancer, proxyHeader({ address, port: 4_711 }), shown);
    assert.equal(code, 0);
    const line = await gateway.log.logged((entry) => entry.get('remote') === shown);
    assert.equal(line.get('principal'), 'device/d1');
    client.destroy();
  }
});

test('limits per source count behind a load balancer', async () => {
  const from = (clientId: string) =>
    connect(balancer, proxyHeader({ address: '198.51.100.50' }), clientId);
  const open = [await from('a'), await from('b')];
  assert.deepEqual(
    open.map(({ code }) => code),
    [0, 0],
  );
  assert.equal((await from('c')).code, undefined);
  const other = await connect(balancer, proxyHeader({ address: '198.51.100.51' }), 'd');
  assert.equal(other.code, 0);
  for (const { client } of [...open, other]) client.destroy();
});

test('without a header, with the text of version 1 or with half a header a load balancer is not served', async () => {
  const text = Buffer.from('PROXY TCP4 198.51.100.7 198.51.100.1 4711 8883\r\n');
  for (const first of [Buffer.alloc(0), text, proxyHeader({}).subarray(0, 12)]) {
    assert.equal((await connect(balancer, first, 'c')).code, undefined);
  }
});

test('nobody else may say where they come from', async () => {
  const header = proxyHeader({ address: '198.51.100.99' });
  assert.equal((await connect('127.71.1.1', header, 'liar')).code, undefined);
  assert.equal((await connect('127.71.1.1', Buffer.alloc(0), 'honest')).code, 0);
  assert.ok(!gateway.log.text.includes('198.51.100.99'));
});
