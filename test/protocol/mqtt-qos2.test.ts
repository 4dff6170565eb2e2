/** QoS 2 with clients that do not play their part: what they can make the gateway hold, and what others get of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { publishPacket } from '../harness/mqtt-bytes.ts';
import type { MqttVersion } from '../harness/mqtt-bytes.ts';
import { ack, again, bothVersions, wireGateway, wireTypes } from '../harness/mqtt-wire.ts';
import type { WireClient, WireOptions } from '../harness/mqtt-wire.ts';
import { residentBytes } from '../harness/processes.ts';

const receiveMaximum = 64;
/** What 3.1.1, which is told no receive maximum, may hold. */
const mostHeld = 1_024;
const { alice, bob, come, gateway } = await wireGateway([
  `receiveMaximum: ${receiveMaximum}`,
  'connectsPerMinute: 10000',
  'identityRates: { service: [] }',
]);

const packetIds = 65_535;
const receiveMaximumExceeded = 0x93;
const mebibyte = 1024 * 1024;

const keptBy = (version: MqttVersion): WireOptions =>
  version === 5
    ? { version, clientId: 'kept', properties: [['sessionExpiryInterval', 3_600]] }
    : { version, clientId: 'kept', cleanStart: false };

function publish(version: MqttVersion, packetId: number, topic = 't/q2', payload = 'x'): Buffer {
  return publishPacket({ version, topic, payload, qos: 2, packetId });
}

/** As many PUBLISH packets as there are identifiers, and no PUBREL. @returns how many were received. */
async function allIdentifiers(client: WireClient): Promise<number> {
  const { version } = client;
  const each = Array.from({ length: packetIds }, (_, n) => publish(version, n + 1));
  for (let at = 0; at < each.length; at += 1_000) client.send(...each.slice(at, at + 1_000));
  const said = await client.end();
  const received = said.match(/50(?:02|03)[0-9a-f]{4}(?:10)?/g)?.length ?? 0;
  const last = said.slice(-6);
  if (version === 5)
    assert.equal(last, `e001${receiveMaximumExceeded.toString(16)}`, said.slice(-20));
  return received;
}

for (const [name, version] of bothVersions) {
  for (const [session, options] of [
    ['a session in memory', { version, clientId: 'all' }],
    ['a durable session', keptBy(version)],
  ] as const) {
    test(`${name}, ${session}: 65,535 packet identifiers and no PUBREL are cut off, and hold little [MQTT-3.3.4-9]`, async () => {
      const [worker = 0] = gateway.run().workers;
      const client = await come(alice, options);
      const before = residentBytes(worker);
      const received = await allIdentifiers(client);
      assert.ok(received <= (version === 5 ? receiveMaximum : mostHeld), `${received} received`);
      const grown = residentBytes(worker) - before;
      assert.ok(grown < 32 * mebibyte, `grown by ${grown} bytes`);
      using served = await come(bob, { version });
      await served.publish({ topic: 't/served', payload: 'x', qos: 2 });
    });
  }

  test(`${name}: a session that comes again and again with new identifiers holds no more for it`, async () => {
    const options = { ...keptBy(version), clientId: `again-${version}` };
    let held = 0;
    for (let round = 0; round * receiveMaximum <= mostHeld; round += 1) {
      const client = await come(alice, { ...options, cleanStart: false });
      const ids = Array.from({ length: receiveMaximum }, (_, n) => 1 + round * receiveMaximum + n);
      client.send(...ids.map((packetId) => publish(version, packetId)));
      if (round * receiveMaximum === mostHeld) {
        await client.refused(receiveMaximumExceeded);
        break;
      }
      for (const packetId of ids) {
        const answer = await client.acknowledged(wireTypes.pubrec);
        assert.equal(answer.packetId, packetId);
        held += 1;
      }
      await client.drop();
    }
    assert.equal(held, mostHeld);
    // They can be released still, and then there is room again.
    const client = await come(alice, { ...options, cleanStart: false });
    for (let packetId = 1; packetId <= 100; packetId += 1) {
      client.send(ack(wireTypes.pubrel, packetId));
      assert.equal((await client.acknowledged(wireTypes.pubcomp)).code, 0);
    }
    await client.publish({ topic: 't/q2', payload: 'x', qos: 2, packetId: 1 });
    await client.leave();
  });

  test(`${name}: a message that was sent again on the next connection comes once [MQTT-4.3.3-10] [MQTT-4.4.0-1]`, async () => {
    using reader = await come(bob, { version });
    await reader.subscribe([{ filter: `t/once/${version}`, options: 2 }]);
    const options = { ...keptBy(version), clientId: `once-${version}` };
    const bytes = publish(version, 9, `t/once/${version}`);
    const before = await come(alice, options);
    before.send(bytes);
    await before.acknowledged(wireTypes.pubrec);
    await before.drop();
    const after = await come(alice, { ...options, cleanStart: false });
    after.send(again(bytes), ack(wireTypes.pubrel, 9));
    assert.equal((await after.acknowledged(wireTypes.pubrec)).packetId, 9);
    assert.deepEqual(await after.acknowledged(wireTypes.pubcomp), {
      packetId: 9,
      code: 0,
      properties: [],
    });
    const { payload, packetId = 0 } = await reader.message();
    assert.equal(payload, 'x');
    reader.send(ack(wireTypes.pubrec, packetId));
    await reader.acknowledged(wireTypes.pubrel);
    reader.send(ack(wireTypes.pubcomp, packetId));
    await reader.nothing();
    await after.leave();
  });
}
