import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { SallyportError } from '../../../common/base/errors.ts';
import type { ControlCall } from '../../../common/ipc/control-calls.ts';
import { OcspAnswers } from './ocsp-answers.ts';
import type { StatusLimits } from './ports.ts';

const startedAt = 1_800_000_000_000;
const nonceId = '06092b0601050507300102';
const d1 = Buffer.from('3041');
const d2 = Buffer.from('3042');

let now = startedAt;
let limits: StatusLimits;
let calls: ControlCall[] = [];
let answers: OcspAnswers;
let reply: (request: Buffer) => unknown;

function signed(request: Buffer, more: object = {}): object {
  const certificates = [`internal:${request.toString('latin1')}`];
  const der = Buffer.from(`signed ${request.toString('latin1')}`).toString('base64');
  return { der, cacheUntil: now + 60_000, certificates, ...more };
}

beforeEach(() => {
  now = startedAt;
  calls = [];
  limits = {
    sourceStatusPerSecond: 100,
    statusCallsPerSecond: 10,
    signedTimesPerSecond: 10,
    ocspRequestBytes: 4_096,
    ocspCacheBytes: 100_000,
    headerBytes: 8_192,
    headers: 64,
    headersMs: 10_000,
    requestMs: 30_000,
    idleMs: 75_000,
    stalledMs: 30_000,
  };
  reply = signed;
  answers = new OcspAnswers({
    clock: { now: () => now, monotonic: () => now },
    limits: () => limits,
    call: async (call) => {
      calls.push(call);
      assert.equal(call.what, 'ocsp');
      return reply(Buffer.from(call.request, 'base64'));
    },
  });
});

test('what control has signed is given again for as long as it says, with how long caches may hold it', async () => {
  assert.equal(answers.find(d1), undefined);
  const first = await answers.ask(d1);
  assert.equal(first.body.toString(), 'signed 3041');
  assert.match(first.headers, /Cache-Control: max-age=60, public/);
  now += 59_000;
  assert.match(answers.find(d1)?.headers ?? '', /max-age=1,/);
  assert.match(answers.find(d1)?.headers ?? '', /ETag: "[0-9a-f]{32}"\r\nExpires: .* GMT\r\n/);
  now += 1_000;
  assert.equal(answers.find(d1), undefined);
  assert.equal(answers.size, 0);
  assert.equal(calls.length, 1);
});

test('those who ask the same at once share one call', async () => {
  const [one, other] = await Promise.all([answers.ask(d1), answers.ask(d1)]);
  assert.equal(one, other);
  assert.equal(calls.length, 1);
});

test('an answer goes when a certificate of which it speaks is revoked, and no other does', async () => {
  await answers.ask(d1);
  await answers.ask(d2);
  answers.revoked(new Set(['internal:3041']));
  assert.equal(answers.find(d1), undefined);
  assert.notEqual(answers.find(d2), undefined);
  answers.revoked(undefined);
  assert.equal(answers.find(d2), undefined);
});

test('an answer that was asked for before a revocation is given once and not kept', async () => {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  reply = () => promise;
  const asked = answers.ask(d1);
  answers.revoked(new Set(['internal:3041']));
  resolve(signed(d1));
  assert.match((await asked).headers, /no-store/);
  assert.equal(answers.find(d1), undefined);
});

test('what is for one request is not kept, with a nonce whatever control says', async () => {
  reply = (request) => signed(request, { cacheUntil: undefined });
  assert.match((await answers.ask(d1)).headers, /no-store/);
  assert.equal(answers.find(d1), undefined);
  reply = signed;
  const nonced = Buffer.from(`3041${nonceId}`, 'hex');
  assert.match((await answers.ask(nonced)).headers, /no-store/);
  assert.equal(answers.find(nonced), undefined);
});

test('control is asked so often a second, and half as often with a nonce', async () => {
  const tries = async (request: (i: number) => Buffer): Promise<number> => {
    let done = 0;
    for (let i = 0; i < 50; i += 1) {
      try {
        await answers.ask(request(i));
        done += 1;
      } catch (error) {
        assert.ok(error instanceof SallyportError);
        assert.equal(error.code, 'rate');
      }
    }
    return done;
  };
  const nonced = (i: number): Buffer =>
    Buffer.from(`30${nonceId}${String(i).padStart(2, '0')}`, 'hex');
  assert.equal(await tries(nonced), 5);
  assert.equal(await tries((i) => Buffer.from(`plain ${i}`)), 5);
  now += 1_000;
  assert.equal(await tries((i) => Buffer.from(`later ${i}`)), 10);
});

test('a control that is slow has so many requests to answer at once', async () => {
  limits = { ...limits, statusCallsPerSecond: 1_000 };
  const { promise, resolve } = Promise.withResolvers<unknown>();
  reply = () => promise;
  const asked = Array.from({ length: 32 }, (_, i) => answers.ask(Buffer.from(`request ${i}`)));
  await assert.rejects(answers.ask(d1), { code: 'busy' });
  resolve(signed(d2));
  await Promise.all(asked);
  assert.equal((await answers.ask(d1)).body.toString(), 'signed 3042');
});

test('what is kept is bounded in bytes, and what was not asked for longest goes first', async () => {
  limits = { ...limits, ocspCacheBytes: 3_000, statusCallsPerSecond: 1_000 };
  for (let i = 0; i < 100; i += 1) {
    await answers.ask(Buffer.from(`request ${i}`));
    assert.notEqual(answers.find(Buffer.from('request 0')), undefined, `after ${i}`);
  }
  assert.ok(answers.size >= 2 && answers.size <= 6, String(answers.size));
  assert.notEqual(answers.find(Buffer.from('request 99')), undefined);
});

for (const [what, value] of [
  ['nothing', undefined],
  ['a text', 'x'],
  ['no certificates', { der: 'AA==', cacheUntil: 1 }],
  ['a number for a certificate', { der: 'AA==', certificates: [1] }],
  ['no DER', { certificates: [] }],
] as const) {
  test(`${what} instead of an answer is a fault, and the next one asks again`, async () => {
    reply = () => value;
    await assert.rejects(answers.ask(d1), { code: 'internal' });
    reply = signed;
    assert.equal((await answers.ask(d1)).body.toString(), 'signed 3041');
  });
}

test('what was signed by a clock that was ahead is not given when it has been set right', async () => {
  now += 86_400_000;
  await answers.ask(d1);
  now -= 30_000;
  assert.notEqual(answers.find(d1), undefined);
  now = startedAt;
  assert.equal(answers.find(d1), undefined);
});
