import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clockFinding } from './own-clock.ts';

/** A chrony whose clock is so many seconds behind. */
const chrony =
  (behind: string, leap = 'Normal') =>
  async (path: string) =>
    path.endsWith('chronyc')
      ? `C0A80101,192.168.1.1,3,1760000000.0,${behind},0.0,0.0,1.0,0.0,0.1,0.01,0.01,64.0,${leap}\n`
      : undefined;

test('a clock that is kept is said to be, with what it is off', async () => {
  const finding = await clockFinding(chrony('-0.012'));
  assert.deepEqual([finding?.severity, finding?.code], ['info', 'clock']);
  assert.match(finding?.says ?? '', /synchronized, 0\.012 s ahead$/);
});

test('a clock that is far off, or not kept, is a warning with what to do', async () => {
  const off = await clockFinding(chrony('61.5'));
  assert.deepEqual([off?.severity, off?.code], ['warning', 'clock-off']);
  assert.match(off?.says ?? '', /61\.500 s behind$/);
  assert.match(off?.todo ?? '', /makestep/);
  const loose = await clockFinding(chrony('0.0', 'Not synchronised'));
  assert.deepEqual([loose?.severity, loose?.code], ['warning', 'clock-not-synchronized']);
});

test('where nobody keeps it nothing is said', async () => {
  assert.equal(await clockFinding(async () => undefined), undefined);
});
