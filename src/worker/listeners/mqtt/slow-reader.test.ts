/** A client that does not take what it is sent, and whose packets are not read meanwhile. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Connect } from '../../../common/codec/mqtt/packets.ts';
import { document, publishOf, responseOf, subscribeTo, worldOf } from '../../session-world.ts';

const topic = 'devices/d1/telemetry';
const pieceBytes = 60_000;

for (const [says, tells] of [
  ['says so', true],
  ['says nothing, for less than its mark waited', false],
] as const) {
  test(`a slow reader is read again when it has taken what was sent, and its stream ${says}`, async (t) => {
    t.mock.timers.enable({ apis: ['setInterval'] });
    const { worker } = worldOf(t);
    const one: Partial<Connect> = { cleanStart: true, properties: { receiveMaximum: 1 } };
    const reader = await worker.connect('be', one);
    reader.send(subscribeTo(topic, 1));
    const device = await worker.connect('d1', { cleanStart: true });
    await device.heard();
    // More than half of what may wait for its acknowledgements.
    const most = document.limits.outboundMessages;
    for (let id = 1; id < most; id += 1) device.send(publishOf(topic, `${id}`, 1, id));
    assert.deepEqual(await reader.heard(), ['connack', 'suback', 'publish 1 1']);
    const { transport } = reader;
    transport.takes = false;
    const piece = 'x'.repeat(pieceBytes);
    for (let sent = 0; sent <= document.limits.outboundBytes; sent += pieceBytes) {
      device.send(publishOf(topic, piece, 0));
      await device.heard();
    }
    await reader.packets();
    reader.send(responseOf('puback', 1));
    t.mock.timers.tick(1_000);
    assert.deepEqual(await reader.heard(), [], 'it is not read');
    if (tells) {
      transport.drain();
    } else {
      transport.takes = true;
      transport.pendingBytes = 0;
      t.mock.timers.tick(1_000);
    }
    assert.deepEqual(await reader.heard(), ['publish 2 2']);
  });
}
