import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { SallyportError } from '../../../common/base/errors.ts';
import type { CrlCall } from '../../../common/ipc/control-calls.ts';
import { RevocationLists } from './revocation-lists.ts';

const issuer = 'ab'.repeat(20);

let now = 0;
let calls: CrlCall[] = [];
let lists: RevocationLists;
let reply: (call: CrlCall) => unknown;

function list(number: number, text = `list ${number}`): object {
  return { der: Buffer.from(text).toString('base64'), number, nextUpdate: now + 600_000 };
}

beforeEach(() => {
  now = 1_800_000_000_000;
  calls = [];
  reply = () => list(1);
  lists = new RevocationLists({
    clock: { now: () => now, monotonic: () => now },
    call: async (call) => {
      assert.ok(call.what === 'crl');
      calls.push(call);
      return reply(call);
    },
  });
});

/** Lets what was asked for in the background arrive. */
async function settled(): Promise<void> {
  for (let i = 0; i < 10; i += 1) await Promise.resolve();
}

test('a list is asked for once and shown at once from then on', async () => {
  assert.equal(lists.find(issuer, false), undefined);
  const [one, other] = await Promise.all([lists.ask(issuer, false), lists.ask(issuer, false)]);
  assert.equal(one, other);
  assert.equal(lists.find(issuer, false), one);
  assert.deepEqual(calls, [{ what: 'crl', issuer, delta: false, have: undefined }]);
});

test('each issuer has its own, and each of them two', async () => {
  for (const [id, delta] of [
    [issuer, false],
    [issuer, true],
    [undefined, false],
  ] as const) {
    reply = (call) => list(7, JSON.stringify([call.issuer, call.delta]));
    const { der } = await lists.ask(id, delta);
    assert.equal(der.toString(), JSON.stringify([id, delta]));
  }
});

test('control is asked for a newer one now and then, and nobody waits for it', async () => {
  const first = await lists.ask(issuer, false);
  now += 59_000;
  assert.equal(lists.find(issuer, false), first);
  assert.equal(calls.length, 1);
  now += 1_000;
  reply = () => ({ number: 1, nextUpdate: now + 900_000 });
  assert.equal(lists.find(issuer, false), first);
  await settled();
  assert.deepEqual(calls.at(-1), { what: 'crl', issuer, delta: false, have: 1 });
  assert.equal(lists.find(issuer, false)?.der, first.der);
  assert.equal(lists.find(issuer, false)?.nextUpdate, now + 900_000);
});

test('after a revocation the next who asks waits for the list that has it', async () => {
  await lists.ask(issuer, false);
  lists.revoked();
  assert.equal(lists.find(issuer, false), undefined);
  reply = () => list(2);
  assert.equal((await lists.ask(issuer, false)).number, 2);
  assert.equal(lists.find(issuer, false)?.number, 2);
});

test('a revocation while a list is on its way has it asked for again', async () => {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  reply = () => promise;
  const asked = lists.ask(issuer, false);
  lists.revoked();
  resolve(list(1));
  await asked;
  assert.equal(lists.find(issuer, false), undefined);
  reply = () => list(2);
  assert.equal((await lists.ask(issuer, false)).number, 2);
});

test('the last list is shown while control is away, until it ends', async () => {
  await lists.ask(issuer, false);
  reply = () => {
    throw new SallyportError('unavailable', 'control does not answer');
  };
  lists.revoked();
  assert.equal((await lists.ask(issuer, false)).number, 1);
  now += 600_000;
  await assert.rejects(lists.ask(issuer, false), { code: 'unavailable' });
  const asked = calls.length;
  await assert.rejects(lists.ask(issuer, false), { code: 'unavailable' });
  assert.equal(calls.length, asked, 'asked again at once');
  now += 2_000;
  reply = () => list(2);
  assert.equal((await lists.ask(issuer, false)).number, 2);
});

test('a list that control does not have is not found', async () => {
  reply = () => {
    throw new SallyportError('not-found', 'no delta');
  };
  await assert.rejects(lists.ask(issuer, true), { code: 'not-found' });
});

test('lists of CAs that are gone are forgotten, the one of the present CA is not', async () => {
  await lists.ask(issuer, false);
  await lists.ask(undefined, false);
  lists.keepOnly(new Set());
  assert.equal(lists.find(issuer, false), undefined);
  reply = () => {
    throw new SallyportError('unavailable', 'control does not answer');
  };
  assert.equal((await lists.ask(undefined, false)).number, 1);
});

test('when another CA issues, its list is not taken for the one of before that has the same number', async () => {
  // As control answers: nothing, to who has the number that it has itself.
  let text = 'of the CA before';
  reply = ({ have }) => (have === 1 ? { number: 1, nextUpdate: now + 600_000 } : list(1, text));
  const before = await lists.ask(undefined, false);
  const { promise, resolve } = Promise.withResolvers<unknown>();
  now += 60_000;
  const ownReply = reply;
  reply = () => promise;
  lists.find(undefined, false);
  lists.keepOnly(new Set([issuer]));
  text = 'of the CA that issues now';
  reply = ownReply;
  const { der, tag } = await lists.ask(undefined, false);
  assert.equal(der.toString(), text);
  assert.notEqual(tag, before.tag);
  resolve(list(1, 'of the CA before'));
  await settled();
  assert.equal(lists.find(undefined, false)?.der.toString(), text);
});

for (const isFirst of [true, false]) {
  test(`after a revocation control is asked again soon, since what it had may have been the list before${isFirst ? ', also when nobody has asked before' : ''}`, async () => {
    if (!isFirst) await lists.ask(issuer, false);
    lists.revoked();
    reply = ({ have }) => (have === 1 ? { number: 1, nextUpdate: now + 600_000 } : list(1));
    await lists.ask(issuer, false);
    reply = () => list(2);
    now += 2_000;
    lists.find(issuer, false);
    await settled();
    assert.equal(lists.find(issuer, false)?.number, 2);
    now += 120_000;
    lists.find(issuer, false);
    await settled();
    const asked = calls.length;
    now += 59_000;
    lists.find(issuer, false);
    assert.equal(calls.length, asked);
  });
}

test('what is no list is a fault', async () => {
  for (const value of [undefined, {}, { number: 1, nextUpdate: now + 1 }, { der: 1, number: 1 }]) {
    reply = () => value;
    await assert.rejects(lists.ask(issuer, false), { code: 'internal' });
    now += 2_000;
  }
});
