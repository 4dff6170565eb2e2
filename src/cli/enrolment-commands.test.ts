import assert from 'node:assert/strict';
import { after, beforeEach, test } from 'node:test';
import { CommandLine } from '../../test/harness/command-line.ts';

const line = await CommandLine.start();
after(() => line[Symbol.dispose]());

beforeEach(() => {
  line.renew();
});

const sallyport = (...args: readonly string[]) => line.run(...args);

test('enrolment token prints the token and nothing else, and what it is good for beside it', async () => {
  const { code, out, err } = await sallyport('enrolment', 'token');
  assert.deepEqual([code, out], [0, 'enrolment-token\n']);
  assert.match(err, /^Token 7: good once, until [^,]+Z, for new devices;/);
  assert.deepEqual(line.services.calls, [
    ['createEnrolmentToken', 'local:1000', { device: undefined, ttlMs: 3_600_000, uses: 1 }],
  ]);
});

test('enrolment token takes a device, a time and a number of uses', async () => {
  const options = ['--device', 'd1', '--ttl', '7d', '--uses', '20'];
  const { err } = await sallyport('enrolment', 'token', ...options);
  assert.match(err, /good 20 times, .* for device\/d1;/);
  const json = await sallyport('enrolment', 'token', ...options, '--json');
  const answer: unknown = JSON.parse(json.out);
  assert.ok(typeof answer === 'object' && answer !== null);
  const { token, expires } = answer as Record<string, unknown>; // just found to be an object
  assert.equal(token, 'enrolment-token');
  assert.ok(Number.isSafeInteger(expires));
  assert.deepEqual(line.services.calls.at(-1)?.[2], { device: 'd1', ttlMs: 604_800_000, uses: 20 });
});

test('enrolment token refuses what is no device, no time and no number', async () => {
  for (const options of [
    ['--device', 'a/b'],
    ['--ttl', 'soon'],
    ['--ttl', '93d'],
    ['--uses', 'many'],
    ['--uses', '0'],
  ]) {
    const { code, err } = await sallyport('enrolment', 'token', ...options);
    assert.notEqual(code, 0, options.join(' '));
    assert.match(err, /^error: .+\n$/);
  }
  assert.deepEqual(line.services.calls, []);
});

test('enrolment list shows what waits, and which tokens can be used', async () => {
  const { code, out } = await sallyport('enrolment', 'list');
  assert.equal(code, 0);
  assert.match(out, /^REQUEST +DEVICE +STATE +BY +FROM/);
  assert.match(out, /^3 +d9 +waiting +token:6 +192\.0\.2\.9 .* (ab){32}$/m);
  assert.match(out, /^7 +d1 +3 of 5 /m);
  assert.match(out, /^6 +new devices +3 of 5 /m);
  const json: unknown = JSON.parse((await sallyport('enrolment', 'list', '--json')).out);
  assert.deepEqual(Object.keys(json as object), ['requests', 'tokens']);
});

test('enrolment approve and deny name a request by its number', async () => {
  const approved = await sallyport('enrolment', 'approve', '3');
  assert.deepEqual([approved.code, approved.out], [0, 'Request 3, device/d9: approved.\n']);
  const denied = await sallyport('enrolment', 'deny', '3', '--reason', 'not ours');
  assert.deepEqual([denied.code, denied.out], [0, 'Request 3, device/d9: denied.\n']);
  assert.deepEqual(line.services.calls, [
    ['decideEnrolment', 'local:1000', 3, 'approved', undefined],
    ['decideEnrolment', 'local:1000', 3, 'denied', 'not ours'],
  ]);
  for (const number of ['4', '0', 'd9', '../3']) {
    assert.notEqual((await sallyport('enrolment', 'approve', number)).code, 0, number);
  }
});

test('enrolment withdraw makes a token useless', async () => {
  const { code, out } = await sallyport('enrolment', 'withdraw', '7');
  assert.deepEqual([code, out], [0, 'Token 7 is of no use any more.\n']);
  assert.equal((await sallyport('enrolment', 'withdraw', '1')).code, 1);
});
