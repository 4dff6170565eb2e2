import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import { principalName } from '../../common/base/principal.ts';
import type { PrincipalKind } from '../../common/base/principal.ts';
import { Registry } from '../registry/registry.ts';
import { openDatabase } from '../store/database.ts';
import { ExpiryWatch } from './expiry-watch.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());

const day = 86_400_000;
const start = Date.UTC(2026, 10, 1);
let databases = 0;
let serials = 0;

/** A registry, a watch with a renewal window of 60 days, and what it said, as `d1 in 30`. */
function setUp() {
  databases += 1;
  const database = openDatabase(folder.at(`${databases}.db`));
  const clock = { ms: start, now: () => clock.ms, monotonic: () => clock.ms };
  const registry = new Registry(database, clock);
  const logged: string[] = [];
  const reminded: string[] = [];
  const state = { mailboxFull: false, nobodyAnswers: false, asked: 0 };
  const say = (fields: object): void => {
    if ('days' in fields && 'principal' in fields)
      logged.push(`${String(fields.principal)} in ${String(fields.days)}`);
  };
  const ignore = (): void => {};
  const logger: Logger = {
    isLevelEnabled: () => true,
    debug: ignore,
    info: ignore,
    warn: say,
    error: (fields, text) => assert.fail(`${JSON.stringify(fields)} ${text}`),
    fatal: ignore,
  };
  const parts = {
    database,
    clock,
    registry,
    renewalWindowMs: () => 60 * day,
    remind: async (name: string) => {
      state.asked += 1;
      if (state.nobodyAnswers) throw new SallyportError('timeout', 'no answer');
      if (state.mailboxFull) throw new SallyportError('quota', 'full');
      reminded.push(name);
    },
    logger,
  };
  const enrol = (
    id: string,
    days: number,
    kind: PrincipalKind = 'device',
    anchor = 'internal',
  ): void => {
    serials += 1;
    const name = principalName(kind, id);
    registry.enrol(name, kind, anchor, {
      serial: serials.toString(16),
      spkiSha256: `key ${serials}`,
      notBefore: clock.ms,
      notAfter: clock.ms + days * day,
      der: new Uint8Array(1),
    });
  };
  const watch = new ExpiryWatch(parts);
  return {
    watch,
    again: () => new ExpiryWatch(parts),
    registry,
    clock,
    enrol,
    state,
    /** What was said since the last time. */
    said: async (on: ExpiryWatch = watch) => {
      await on.look();
      return { logged: logged.splice(0), reminded: reminded.splice(0) };
    },
  };
}

const nothing = { logged: [], reminded: [] };

test('operators hear of each step once, the device when its window opens and at each step', async () => {
  const { said, clock, enrol, watch } = setUp();
  enrol('d1', 365);
  assert.deepEqual(await said(), nothing);
  const steps: [number, object][] = [
    [61, nothing],
    [60, { logged: [], reminded: ['device/d1'] }],
    [59, nothing],
    [30, { logged: ['device/d1 in 30'], reminded: [] }],
    [29, nothing],
    [7, { logged: ['device/d1 in 7'], reminded: ['device/d1'] }],
    [6.9, nothing],
    [1, { logged: ['device/d1 in 1'], reminded: ['device/d1'] }],
    [0.5, nothing],
    [-0.1, { logged: ['device/d1 in 0'], reminded: [] }],
    [-10, nothing],
  ];
  for (const [left, expected] of steps) {
    clock.ms = start + (365 - left) * day;
    assert.deepEqual(await said(), expected, `${left} days before the end`);
  }
  assert.deepEqual(watch.expiring, { 0: 1, 1: 1, 7: 1, 30: 1 });
});

test('a gateway that was away says the step at which it comes back, and says nothing twice after a restart', async () => {
  const { said, again, clock, enrol } = setUp();
  enrol('d1', 365);
  clock.ms = start + 360 * day;
  assert.deepEqual(await said(), { logged: ['device/d1 in 7'], reminded: ['device/d1'] });
  assert.deepEqual(await said(again()), nothing);
});

test('whoever has renewed is left alone, and the next certificate has its own steps', async () => {
  const { said, clock, enrol, watch } = setUp();
  enrol('d1', 100);
  clock.ms = start + 95 * day;
  assert.deepEqual((await said()).logged, ['device/d1 in 7']);
  enrol('d1', 100);
  assert.deepEqual(await said(), nothing);
  assert.deepEqual(watch.expiring, { 0: 0, 1: 0, 7: 0, 30: 0 });
  clock.ms += 94 * day;
  assert.deepEqual(await said(), { logged: ['device/d1 in 7'], reminded: ['device/d1'] });
});

test('services and operators are not sent commands; who is revoked is nobody’s business', async () => {
  const { said, registry, clock, enrol } = setUp();
  enrol('be', 100, 'service');
  enrol('ann', 100, 'operator');
  enrol('gone', 100);
  registry.changeStanding(principalName('device', 'gone'), 'revoke');
  clock.ms = start + 95 * day;
  assert.deepEqual(await said(), {
    logged: ['operator/ann in 7', 'service/be in 7'],
    reminded: [],
  });
});

test('a certificate of days is not late when it is born, and is renewed in the second half of its life', async () => {
  const { said, clock, enrol } = setUp();
  enrol('d1', 2);
  assert.deepEqual(await said(), nothing);
  clock.ms += 1.1 * day;
  assert.deepEqual(await said(), { logged: ['device/d1 in 1'], reminded: ['device/d1'] });
});

test('a notice that cannot be given is tried again', async () => {
  const { said, clock, enrol, state } = setUp();
  enrol('d1', 365);
  clock.ms = start + 310 * day;
  state.mailboxFull = true;
  assert.deepEqual(await said(), nothing);
  state.mailboxFull = false;
  assert.deepEqual(await said(), { logged: [], reminded: ['device/d1'] });
  assert.deepEqual(await said(), nothing);
});

test('when no worker answers, one device is tried and the others wait for the next look', async () => {
  const { said, clock, enrol, state } = setUp();
  for (const id of ['d1', 'd2', 'd3']) enrol(id, 365);
  clock.ms = start + 310 * day;
  state.nobodyAnswers = true;
  assert.deepEqual(await said(), nothing);
  assert.equal(state.asked, 1);
  state.nobodyAnswers = false;
  assert.deepEqual((await said()).reminded, ['device/d1', 'device/d2', 'device/d3']);
});

test('every identity is looked at, however many there are', async () => {
  const { said, clock, enrol, watch } = setUp();
  for (let n = 0; n < 4_100; n += 1) enrol(`d${n}`, 100);
  clock.ms = start + 99.5 * day;
  const { logged, reminded } = await said();
  assert.equal(new Set(logged).size, 4_100);
  assert.equal(new Set(reminded).size, 4_100);
  assert.equal(watch.expiring[1], 4_100);
});

test('a device with the certificate of another CA is told nothing, and operators are', async () => {
  const { enrol, said, clock } = setUp();
  enrol('ours', 100);
  enrol('theirs', 100, 'device', 'acme');
  clock.ms = start + 95 * day;
  const { logged, reminded } = await said();
  assert.deepEqual(reminded, ['device/ours']);
  assert.deepEqual(logged, ['device/ours in 7', 'device/theirs in 7']);
});
