import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { WorkerToControl } from '../common/ipc/messages.ts';
import { Acknowledgements } from './acknowledgements.ts';

function setUp() {
  let seq = 0;
  const said: WorkerToControl[] = [];
  const acknowledgements = new Acknowledgements({
    position: () => ({ epoch: 7, seq }),
    toControl: (message) => said.push(message),
  });
  const apply = (): void => {
    seq += 1;
    acknowledgements.applied();
  };
  return { acknowledgements, apply, said };
}

test('thousands of changes that come together are acknowledged once, as far as the last of them', async () => {
  const { apply, said } = setUp();
  for (let n = 0; n < 5_000; n += 1) apply();
  await Promise.resolve();
  assert.deepEqual(said, [{ type: 'ack', epoch: 7, seq: 5_000 }]);
});

test('a change that comes alone is acknowledged before anything else happens', async () => {
  const { apply, said } = setUp();
  for (let n = 1; n <= 2; n += 1) {
    apply();
    await Promise.resolve();
    assert.deepEqual(said.at(-1), { type: 'ack', epoch: 7, seq: n });
  }
  assert.equal(said.length, 2);
});

test('what could not be applied is said at once, and what was is acknowledged all the same', async () => {
  const { acknowledgements, apply, said } = setUp();
  apply();
  acknowledgements.refused('no snapshot');
  assert.deepEqual(said, [{ type: 'ack', epoch: 7, seq: 1, error: 'no snapshot' }]);
  await Promise.resolve();
  assert.deepEqual(said.at(-1), { type: 'ack', epoch: 7, seq: 1 });
});
