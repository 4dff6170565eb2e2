import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from '../common/base/errors.ts';
import type { SnapshotChange, TimeCredentials } from '../common/ipc/snapshot.ts';
import { StatusMaterials } from './status-materials.ts';

const staple = { certificate: 'ab', response: 'MAA=', nextUpdate: 1 };

function setUp() {
  const published: (readonly SnapshotChange[])[] = [];
  const lines: string[] = [];
  const time = {
    credentials: undefined as TimeCredentials | undefined,
    next: undefined as TimeCredentials | undefined,
    fails: false,
    async renew(): Promise<boolean> {
      if (time.fails) throw new SallyportError('unavailable', 'no token');
      const isNew = time.next !== time.credentials;
      time.credentials = time.next;
      return isNew;
    },
  };
  const state = { refuses: false };
  const materials = new StatusMaterials({
    time,
    publish: async (changes) => {
      if (state.refuses) throw new SallyportError('internal', 'no workers');
      published.push(changes);
    },
    logger: { error: (_, text) => void lines.push(text) },
  });
  return { materials, time, published, lines, state };
}

test('what is prepared before the first snapshot is not sent by itself', async () => {
  const { materials, time, published } = setUp();
  time.next = { certificate: 'a', privateKey: 'b' };
  await materials.prepare();
  assert.deepEqual(materials.current, { time: time.next, staples: [] });
  assert.deepEqual(published, []);
});

test('a new key and new staples are sent whole, and nothing when nothing has changed', async () => {
  const { materials, time, published } = setUp();
  materials.setStaples([staple]);
  await materials.check();
  time.next = { certificate: 'a', privateKey: 'b' };
  await materials.check();
  await materials.check();
  assert.deepEqual(published, [
    [{ type: 'status', status: { time: undefined, staples: [staple] } }],
    [{ type: 'status', status: { time: time.next, staples: [staple] } }],
  ]);
});

test('a key that cannot be made is a line in the log, and the last one stays', async () => {
  const { materials, time, published, lines } = setUp();
  time.next = { certificate: 'a', privateKey: 'b' };
  await materials.prepare();
  time.fails = true;
  await materials.check();
  assert.equal(materials.current.time, time.next);
  assert.deepEqual(published, []);
  assert.deepEqual(lines, ['the key that signs the time is not renewed']);
});

test('what cannot be sent is a line in the log', async () => {
  const { materials, lines, state } = setUp();
  state.refuses = true;
  materials.setStaples([staple]);
  await Promise.resolve();
  await Promise.resolve();
  assert.deepEqual(lines, ['workers not told of new staples or time keys']);
});
