/** Certificates of an operator's own CA: who they are taken for is the anchor's rule, never what they ask for. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync } from 'node:fs';
import { after, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import type { Identity } from '../harness/gateway.ts';
import { clientExtensions, issueLeaf, makeAuthority } from '../harness/openssl.ts';
import type { Authority } from '../harness/openssl.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

const folder = temporaryFolder();
const factory = makeAuthority(folder.at('factory'), 'Factory');
const closed = makeAuthority(folder.at('closed'), 'Closed');
mkdirSync(folder.at('anchors'));
copyFileSync(factory.crt, folder.at('anchors', 'factory.pem'));
copyFileSync(closed.crt, folder.at('anchors', 'closed.pem'));

const gateway = await startGateway({
  workers: 2,
  folder,
  config: [
    'ca:',
    '  trustAnchors:',
    '    - { name: factory, file: anchors/factory.pem, from: cn, prefix: factory-, register: auto }',
    '    - { name: closed, file: anchors/closed.pem, from: cn, register: known }',
  ].join('\n'),
});
after(async () => {
  await gateway.stop();
  await gateway[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});
const d1 = await gateway.device('d1');
const be = await gateway.service('be', 'backend');
const port = gateway.mqttsPort;

function leafOf(
  authority: Authority,
  id: string,
  extensions = clientExtensions(undefined),
): Identity {
  return issueLeaf(authority, folder.at('leaves'), id, d1.ca, { subject: `/CN=${id}`, extensions });
}

async function connect(identity: Identity) {
  const client = await RawMqtt.open({ port, identity });
  const { code } = await client.connect({ clientId: identity.id });
  return { client, code };
}

async function detailOf(client: RawMqtt): Promise<string> {
  const line = await gateway.log.logged((entry) => entry.get('remote') === client.address);
  return String(line.get('detail'));
}

test('a device of the factory is registered when it first connects, under the name of the rule', async () => {
  using backend = (await connect(be)).client;
  assert.deepEqual(await backend.subscribe('devices/+/telemetry'), [1]);
  const { client, code } = await connect(leafOf(factory, '7'));
  assert.equal(code, 0);
  assert.equal(await client.publish('devices/factory-7/telemetry', '{"n":7}'), 0);
  assert.equal((await backend.message(() => true)).topic, 'devices/factory-7/telemetry');
  assert.equal(await client.publish('devices/7/telemetry', '{}'), 0x87);
  assert.match((await gateway.ok('device', 'show', 'factory-7')).stdout, /factory/);
  client[Symbol.dispose]();
});

test('it loses its standing like any other device', async () => {
  const identity = leafOf(factory, '8');
  const { client, code } = await connect(identity);
  assert.equal(code, 0);
  await gateway.ok('device', 'revoke', 'factory-8');
  assert.equal((await client.ended).disconnect, 0x98);
  assert.equal((await connect(identity)).code, 0x8a);
  assert.equal(
    (await connect(leafOf(factory, '8'))).code,
    0x8a,
    'a new certificate brought it back',
  );
});

test('a SPIFFE id of ours in a certificate of theirs means nothing', async () => {
  const extensions = clientExtensions('spiffe://fleet.internal/device/d1');
  const { client, code } = await connect(leafOf(factory, 'd1', extensions));
  assert.equal(code, 0);
  assert.equal(await client.publish('devices/d1/telemetry', '{}'), 0x87);
  assert.equal(await client.publish('devices/factory-d1/telemetry', '{}'), 0x10);
  client[Symbol.dispose]();
});

test('an anchor that registers nobody lets in nobody it does not know', async () => {
  const { client, code } = await connect(leafOf(closed, 'stranger'));
  assert.equal(code, 0x86);
  assert.match(await detailOf(client), /not registered/);
});

test('an anchor cannot speak for a device of another anchor', async () => {
  const { client, code } = await connect(leafOf(closed, 'd1'));
  assert.equal(code, 0x86);
  assert.match(await detailOf(client), /another trust anchor/);
  const known = await connect(d1);
  assert.equal(known.code, 0);
  known.client[Symbol.dispose]();
});

for (const subject of ['a/b', '+', '#', '..', 'a b']) {
  test(`the common name "${subject}" is nobody`, async () => {
    const identity = issueLeaf(factory, folder.at('leaves'), 'odd', d1.ca, {
      subject: `/CN=${subject.replaceAll('/', '\\/').replaceAll('+', '\\+')}`,
    });
    const { client, code } = await connect({ ...identity, id: 'odd' });
    assert.equal(code, 0x86);
    assert.match(await detailOf(client), /bad-id/);
  });
}
