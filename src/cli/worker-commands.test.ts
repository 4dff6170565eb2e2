import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, beforeEach, test } from 'node:test';
import { CommandLine } from '../../test/harness/command-line.ts';
import { principalName } from '../common/base/principal.ts';

const line = await CommandLine.start();
after(() => line[Symbol.dispose]());

beforeEach(async () => {
  line.renew();
  await line.services.createLab('local:0', principalName('device', 'd1'), undefined);
  line.services.calls.length = 0;
});

const sallyport = (...args: readonly string[]) => line.run(...args);

test('command send passes JSON on as it was typed', async () => {
  const { code, out, err } = await sallyport(
    'command',
    'send',
    'd1',
    'config/set',
    '{ "on": 1.0 }',
  );
  assert.deepEqual([code, err], [0, '']);
  assert.equal(out, 'Command 01-command waits for device/d1 until it has acknowledged it.\n');
  assert.deepEqual(line.services.calls, [
    ['sendCommand', 'local:1000', 'device/d1', 'config/set', '{ "on": 1.0 }', 'application/json'],
  ]);
  const json = await sallyport('command', 'send', 'd1', 'reboot', '--json');
  assert.deepEqual(JSON.parse(json.out), { id: '01-command' });
  assert.deepEqual(line.services.calls.at(-1)?.slice(3), ['reboot', '', undefined]);
});

test('command send takes a text, a file and a media type', async () => {
  const file = line.at('payload.bin');
  writeFileSync(file, 'bytes');
  await sallyport('command', 'send', 'd1', 'say', '--text', 'hello');
  await sallyport('command', 'send', 'd1', 'say', '--file', file);
  await sallyport('command', 'send', 'd1', 'say', '--file', file, '--content-type', 'image/png');
  assert.deepEqual(
    line.services.calls.map((call) => call.slice(4)),
    [
      ['hello', 'text/plain; charset=utf-8'],
      ['bytes', undefined],
      ['bytes', 'image/png'],
    ],
  );
});

test('command send refuses what is wrong before anybody is asked', async () => {
  for (const [args, message] of [
    [['d1', 'a', '{on:true}'], /is no JSON that every reader takes alike: it has .*or use --text/],
    [['d1', 'a', '{"a":1,"a":2}'], /has the same key twice/],
    [['d1', 'a', ''], /is no JSON/],
    [['d1', 'a', '1', '--text', 'x'], /one payload; give either JSON, --text or --file/],
    [['d/1', 'a'], /"d\/1" is not a valid device id/],
    [['d1'], /missing required argument 'name'/],
  ] as const) {
    const { code, out, err } = await sallyport('command', 'send', ...args);
    assert.deepEqual([code, out], [2, ''], args.join(' '));
    assert.match(err, message);
    assert.equal(err.split('\n').length, 2);
  }
  const missing = await sallyport('command', 'send', 'd1', 'a', '--file', line.at('none'));
  assert.deepEqual([missing.code, missing.out], [1, '']);
  assert.deepEqual(line.services.calls, []);
});

test('command send to an unknown device fails and says what to do', async () => {
  const { code, err } = await sallyport('command', 'send', 'd2', 'reboot');
  assert.deepEqual([code, err], [1, 'error: device/d2 is not known; enrol it first\n']);
});

test('route list is a table of what waits', async () => {
  const { code, out } = await sallyport('route', 'list');
  assert.equal(code, 0);
  assert.equal(
    out,
    `ROUTE      BACKEND  AT                      WAITING  BYTES  IN FLIGHT  DEAD LETTERS  BREAKER
telemetry  backend  https://ingest.example  12       3456   2          3             open in 1 worker
`,
  );
  const json = await sallyport('route', 'list', '--json');
  assert.deepEqual(JSON.parse(json.out), await line.services.spools());
  line.services.spools = async () => [];
  assert.match((await sallyport('route', 'list')).out, /^No route has a backend;/);
});

test('route dead-letters goes through the pages', async () => {
  const { code, out } = await sallyport('route', 'dead-letters', 'telemetry', '--backend', 'b');
  assert.equal(code, 0);
  assert.match(out, /^ID +ACCEPTED +REFUSED +FROM +TOPIC +BYTES +REASON$/m);
  assert.match(
    out,
    /^e1 +2026-11-01 00:00:00Z +2026-11-01 00:00:01Z +device\/d1 .* 422 no such sensor$/m,
  );
  assert.deepEqual(line.services.calls.at(-1), [
    'deadLetters',
    'telemetry',
    { backend: 'b', after: 'e3', limit: 997 },
  ]);
  const two = await sallyport('route', 'dead-letters', 'telemetry', '--limit', '2', '--json');
  const letters = JSON.parse(two.out) as { readonly id: string }[];
  assert.deepEqual(
    letters.map(({ id }) => id),
    ['e1', 'e2'],
  );
  const beyond = await sallyport('route', 'dead-letters', 'telemetry', '--after', 'e3');
  assert.equal(beyond.out, 'No dead letters.\n');
  assert.equal((await sallyport('route', 'dead-letters', 'telemetry', '--limit', '-1')).code, 2);
});

test('route retry and discard are about all, or about those that are named', async () => {
  assert.equal(
    (await sallyport('route', 'retry', 'telemetry')).out,
    '3 messages will be sent again.\n',
  );
  const some = await sallyport('route', 'discard', 'telemetry', '--backend', 'b', '--id', 'e1');
  assert.equal(some.out, '1 message dropped.\n');
  const json = await sallyport('route', 'discard', 'telemetry', '--id', 'e1', 'e2', '--json');
  assert.deepEqual(JSON.parse(json.out), { messages: 2 });
  assert.deepEqual(
    line.services.calls.map((call) => call.slice(2)),
    [
      ['retry', 'telemetry', { backend: undefined, ids: undefined }],
      ['discard', 'telemetry', { backend: 'b', ids: ['e1'] }],
      ['discard', 'telemetry', { backend: undefined, ids: ['e1', 'e2'] }],
    ],
  );
});
