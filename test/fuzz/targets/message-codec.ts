/** Messages as bytes: what is at rest, and what comes from another worker. */
import assert from 'node:assert/strict';
import { SallyportError } from '../../../src/common/base/errors.ts';
import { principalName } from '../../../src/common/base/principal.ts';
import { noProperties } from '../../../src/common/codec/mqtt/packets.ts';
import { decodeMessage, encodeMessage } from '../../../src/worker/broker/message-codec.ts';
import type { Message } from '../../../src/worker/broker/message.ts';
import type { FuzzTarget } from '../fuzz.ts';

function check(input: Buffer): void {
  let message: Message;
  try {
    message = decodeMessage(input);
  } catch (error) {
    assert.ok(error instanceof SallyportError, String(error));
    assert.equal(error.code, 'invalid-frame');
    return;
  }
  // Texts that were not UTF-8 are written as what they were read as.
  assert.deepEqual(decodeMessage(encodeMessage(message)), message);
}

const plain: Message = {
  topic: 'devices/d1/telemetry',
  payload: Buffer.from('{"a":1}'),
  qos: 1,
  retain: false,
  properties: noProperties,
  publisher: principalName('device', 'd1'),
  publisherSession: 'device/d1 c',
  expiresAt: undefined,
  delivery: undefined,
};
const full: Message = {
  ...plain,
  qos: 2,
  retain: true,
  expiresAt: 1_795_000_000_000,
  properties: {
    payloadFormatIndicator: 1,
    messageExpiryInterval: 60,
    contentType: 'application/json',
    responseTopic: 'r/t',
    correlationData: Buffer.of(1, 2, 3),
    userProperties: [['k', 'v'] as const, ['k', ''] as const],
  },
};
const dealt: Message = {
  ...plain,
  delivery: {
    id: '00ff',
    handedOn: 1,
    picks: [
      { subscription: '$share/g/a', to: 's', slot: 3, queued: false },
      { subscription: '$share/g/#', to: 't', slot: undefined, queued: true },
    ],
  },
};

export const messageCodec: FuzzTarget = {
  seeds: [plain, full, dealt, { ...full, delivery: dealt.delivery }].map(encodeMessage),
  words: [Buffer.of(0, 0, 0, 1), Buffer.of(0xff, 0xff, 0xff, 0xff), Buffer.from('device/a')],
  maxBytes: 600,
  check,
};
