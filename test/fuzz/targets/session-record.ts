/** Records of sessions, as they are found on the disk. */
import assert from 'node:assert/strict';
import { SallyportError } from '../../../src/common/base/errors.ts';
import { noIdentifiers } from '../../../src/worker/broker/ports.ts';
import type { SubscriptionOptions } from '../../../src/worker/broker/ports.ts';
import {
  decodeLife,
  decodeSession,
  encodeSession,
} from '../../../src/worker/store/session-record.ts';
import type { SessionLife } from '../../../src/worker/store/session-record.ts';
import type { FuzzTarget } from '../fuzz.ts';

function check(input: Buffer): void {
  let decoded: ReturnType<typeof decodeSession>;
  try {
    decoded = decodeSession(input);
  } catch (error) {
    assert.ok(error instanceof SallyportError, String(error));
    assert.ok(['io', 'tampered'].includes(error.code), error.code);
    return;
  }
  const { life, subscriptions } = decoded;
  assert.deepEqual(decodeLife(input), life);
  assert.deepEqual(decodeSession(encodeSession(life, subscriptions)), decoded);
}

/** Twelve bytes in hex. */
const id = 'a1'.repeat(12);
const bare: SessionLife = {
  id,
  expirySeconds: 60,
  owner: undefined,
  endedAt: undefined,
  will: undefined,
  hasQueue: true,
};
const full: SessionLife = {
  id,
  expirySeconds: 0xffff_ffff,
  owner: { slot: 2, token: 'b2'.repeat(8) },
  endedAt: 1_795_000_000_000,
  will: { delaySeconds: 5, sealed: Buffer.from('will') },
  hasQueue: false,
};
const plainOptions: SubscriptionOptions = {
  qos: 1,
  noLocal: false,
  retainAsPublished: false,
  identifiers: noIdentifiers,
};
const subscriptions = new Map<string, SubscriptionOptions>([
  ['a/+/#', plainOptions],
  ['$share/g/b', { ...plainOptions, qos: 2, noLocal: true, identifiers: [7, 9] }],
]);

export const sessionRecord: FuzzTarget = {
  seeds: [
    encodeSession(bare, new Map()),
    encodeSession(full, new Map()),
    encodeSession(bare, subscriptions),
    encodeSession({ ...full, hasQueue: true }, subscriptions),
  ],
  words: [Buffer.of(0xff, 0xff), Buffer.of(0, 1, 0x61), Buffer.of(0, 0, 0, 0)],
  maxBytes: 400,
  check,
};
