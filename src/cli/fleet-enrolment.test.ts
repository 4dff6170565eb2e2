import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { SallyportError } from '../common/base/errors.ts';
import type { ErrorCode } from '../common/base/errors.ts';
import { principalName } from '../common/base/principal.ts';
import type { PrincipalKind } from '../common/base/principal.ts';
import { enrolFleet } from './fleet-enrolment.ts';

class FakeDesk {
  readonly refused = new Map<string, ErrorCode>();
  readonly asked: string[] = [];
  busy = 0;
  busiest = 0;

  async createLab(kind: PrincipalKind, id: string) {
    this.asked.push(id);
    this.busy += 1;
    this.busiest = Math.max(this.busiest, this.busy);
    await setImmediate();
    this.busy -= 1;
    const code = this.refused.get(id);
    if (code !== undefined) throw new SallyportError(code, 'refused');
    return {
      name: principalName(kind, id),
      privateKey: `KEY ${id}`,
      certificateChain: `CHAIN ${id}`,
      root: 'ROOT',
      serial: '01',
      notAfter: 0,
    };
  }
}

const ids = Array.from({ length: 40 }, (_, at) => `sim-${at}`);
const never = new AbortController().signal;

test('all of them in order, a few at once', async () => {
  const desk = new FakeDesk();
  const counts: number[] = [];
  const { identities, refused } = await enrolFleet(desk, ids, (count) => counts.push(count), never);
  assert.deepEqual(
    identities.map(({ id }) => id),
    ids,
  );
  assert.deepEqual(identities[3], {
    id: 'sim-3',
    privateKey: 'KEY sim-3',
    certificateChain: 'CHAIN sim-3',
    root: 'ROOT',
  });
  assert.equal(refused.size, 0);
  assert.equal(desk.busiest, 8);
  assert.deepEqual(
    counts,
    ids.map((_, at) => at + 1),
  );
});

test('a device that is out of service, or of another anchor, is left out and counted', async () => {
  const desk = new FakeDesk();
  desk.refused.set('sim-1', 'wrong-standing').set('sim-2', 'wrong-standing');
  desk.refused.set('sim-5', 'already-exists');
  const { identities, refused } = await enrolFleet(desk, ids, () => {}, never);
  assert.equal(identities.length, 37);
  assert.deepEqual(Object.fromEntries(refused), { standing: 2, 'already-exists': 1 });
});

test('what is about the gateway and not about a device ends it', async () => {
  for (const code of ['not-running', 'io', 'forbidden', 'usage'] as const) {
    const desk = new FakeDesk();
    desk.refused.set('sim-4', code);
    await assert.rejects(
      enrolFleet(desk, ids, () => {}, never),
      { code },
    );
  }
});

test('after an interruption nobody else is enrolled', async () => {
  const desk = new FakeDesk();
  const interrupt = new AbortController();
  const { identities } = await enrolFleet(
    desk,
    ids,
    (count) => {
      if (count === 10) interrupt.abort();
    },
    interrupt.signal,
  );
  assert.equal(identities.length, desk.asked.length);
  assert.ok(identities.length < 20, String(identities.length));
});
