/**
 * What devices can make a worker hold or do over HTTPS, in memory and time, while one next to them is served: requests
 * that are never finished, heads without end, and payloads made to break whoever reads them.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { Identity } from '../harness/gateway.ts';
import { problemCode } from '../harness/https-answer.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import { RawHttps } from '../harness/https-raw.ts';
import type { RawEnding } from '../harness/https-raw.ts';
import { requestText, telemetryText } from '../harness/https-text.ts';
import { residentBytes } from '../harness/processes.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { within } from '../harness/waiting.ts';

const most = 500;
const mebibyte = 1024 * 1024;

const { gateway, connect } = await sharedGateway({
  files: {
    'reading.json': '{"type":"object","required":["n"],"properties":{"n":{"type":"number"}}}',
  },
  config: [
    'routes:',
    '  telemetry: { schema: reading.json, rate: [] }',
    'limits:',
    `  connectionsPerIdentity: ${most}`,
    '  requestHeaders: 3s',
    '  request: 3s',
    '  connect: 8s',
    // Hundreds of strangers come from one network here, and are not what these limits are about.
    '  sourceFailures: 100000',
    '  identityRates: { device: [] }',
  ].join('\n'),
});
const port = gateway.httpsPort;
const [worker = 0] = gateway.run().workers;
const [hostile, honest] = await gateway.devices('hostile', 'honest');
assert.ok(hostile !== undefined && honest !== undefined);
const be = await gateway.service('be', 'backend');

/** @returns by how much the worker's memory has grown at its highest while `happens` ran, looked at every 50 ms. */
async function growthWhile(happens: () => Promise<void>): Promise<number> {
  const before = residentBytes(worker);
  let highest = before;
  const looking = setInterval(() => {
    highest = Math.max(highest, residentBytes(worker));
  }, 50);
  try {
    await happens();
  } finally {
    clearInterval(looking);
  }
  return Math.max(highest, residentBytes(worker)) - before;
}

/** @param state `asked`: each has had an answer, and need not ask again soon. */
async function openMany(
  identity: Identity | undefined,
  count: number,
  state: 'new' | 'asked',
): Promise<readonly RawHttps[]> {
  const all: RawHttps[] = [];
  const open = async (): Promise<RawHttps> => {
    const raw = await RawHttps.open({ port, identity, ca: be.ca });
    if (state === 'asked') {
      raw.send(requestText('GET', '/api/v1/time'));
      assert.equal((await raw.answer()).status, 200);
    }
    return raw;
  };
  while (all.length < count) all.push(...(await Promise.all(Array.from({ length: 50 }, open))));
  return all;
}

async function allEnded(all: readonly RawHttps[]): Promise<readonly RawEnding[]> {
  // Generous: a machine with other work closes later, but it closes.
  return within(Promise.all(all.map(({ ended }) => ended)), 30_000, 'the end of all');
}

const headUntilLength = telemetryText('').replace('Content-Length: 0\r\n\r\n', '');
/** Half of the largest payload that is taken. */
const halfBody = 128 * 1024;

for (const { what, identity, sent, boundMiB, status, count = most, state = 'new' } of [
  {
    what: 'half a head',
    identity: hostile,
    sent: requestText('GET', '/', undefined, `X: ${'x'.repeat(8_000)}`).slice(0, -2),
    boundMiB: 96,
    status: 408,
  },
  {
    what: 'half a body',
    identity: hostile,
    sent: `${headUntilLength}Content-Length: ${2 * halfBody}\r\n\r\n${'x'.repeat(halfBody)}`,
    boundMiB: 96 + (2 * most * halfBody) / mebibyte,
    status: 408,
  },
  {
    what: 'half a body in chunks of one byte',
    identity: hostile,
    sent: `${headUntilLength}Transfer-Encoding: chunked\r\n\r\n${'1\r\nx\r\n'.repeat(40_000)}`,
    boundMiB: 64,
    status: 413,
    count: 100,
    // The last of them may be open only when the first would have had to ask.
    state: 'asked' as const,
  },
  {
    what: 'half a body, without a certificate',
    identity: undefined,
    sent: `${headUntilLength}Content-Length: ${2 * halfBody}\r\n\r\n${'x'.repeat(halfBody)}`,
    boundMiB: 96,
    status: 401,
  },
]) {
  test(`${count} requests of ${what}: bounded in memory and time, and others are served`, async () => {
    using device = HttpsDevice.of(gateway, honest);
    assert.equal((await device.post('telemetry', '{"n":1}')).status, 202);
    const grown = await growthWhile(async () => {
      const all = await openMany(identity, count, state);
      for (const raw of all) raw.send(sent);
      assert.equal((await device.post('telemetry', '{"n":2}')).status, 202);
      await allEnded(all);
      const answers = await Promise.allSettled(all.map((raw) => raw.answer()));
      const statuses = answers.flatMap((each) =>
        each.status === 'fulfilled' ? [each.value.status] : [],
      );
      // Who goes on sending may find a reset where the answer was.
      assert.deepEqual([...new Set(statuses)], [status]);
    });
    assert.ok(grown < boundMiB * mebibyte, `grown by ${grown} bytes`);
    assert.equal((await device.post('telemetry', '{"n":3}')).status, 202);
    assert.equal(device.sockets.length, 1);
  });
}

test('heads of 10,000 headers, and of more bytes than are taken, are refused while they arrive', async () => {
  using device = HttpsDevice.of(gateway, honest);
  const limit = 8 * 1024;
  const largest = requestText('GET', '/', undefined, `X: ${'x'.repeat(limit)}`);
  const fits = largest.replace('x'.repeat(largest.length - limit), '');
  assert.equal(fits.length, limit);
  const lines = Array.from({ length: 10_000 }, (_, n) => `X-${n}: y`);
  const heads = [requestText('GET', '/', undefined, ...lines), largest];
  const grown = await growthWhile(async () => {
    for (let round = 0; round < 100; round += 1) {
      for (const head of heads) {
        using raw = await RawHttps.open({ port, identity: hostile });
        raw.send(head);
        const answer = await raw.answer();
        assert.deepEqual([answer.status, problemCode(answer)], [431, 'too-large']);
      }
    }
  });
  assert.ok(grown < 64 * mebibyte, `grown by ${grown} bytes`);
  using raw = await RawHttps.open({ port, identity: hostile });
  raw.send(fits);
  assert.equal((await raw.answer()).status, 404);
  assert.equal((await device.post('telemetry', '{"n":4}')).status, 202);
});

const deep = 100_000;
const loneSurrogate = String.raw`{"n":1,"s":"\ud800"}`;
const payloads: Readonly<Record<string, string | Buffer>> = {
  'arrays 100,000 deep': '['.repeat(deep) + ']'.repeat(deep),
  'open arrays': '['.repeat(deep),
  'objects 40,000 deep': `${'{"n":'.repeat(40_000)}1${'}'.repeat(40_000)}`,
  'the same name twice': '{"n":1,"n":2}',
  'the same name twice, one of them escaped': String.raw`{"n":1,"\u006e":2}`,
  'the same name twice, within': '{"n":1,"a":{"b":1,"b":2}}',
  'a number beyond all numbers': '{"n":1e400}',
  'one below all numbers': '{"n":-1e400}',
  'a lone surrogate': loneSurrogate,
  'the other half': loneSurrogate.replace('d800', 'dc00'),
  'surrogates the wrong way round': loneSurrogate.replace('d800', String.raw`dc00\ud800`),
  'a lone surrogate as UTF-8': Buffer.from(
    '7b226e223a312c2273223a22eda08022 7d'.replaceAll(' ', ''),
    'hex',
  ),
  'an overlong byte': Buffer.from('7b226e223a312c2273223a22c0af227d', 'hex'),
  'a byte order mark': `\ufeff{"n":1}`,
  'a NUL at the end': '{"n":1}\0',
  'two texts': '{"n":1}{"n":2}',
  'a comma too many': '{"n":1,}',
  'a comment': '{"n":1/**/}',
  NaN: '{"n":NaN}',
  'a leading zero': '{"n":01}',
  'a single quote': "{'n':1}",
  'a line break in a string': '{"n":1,"s":"\n"}',
  nothing: '',
  'only white space': ' \n',
  '__proto__ instead of a member': '{"__proto__":{"n":1}}',
  'a bomb that is not said to be one': gzipSync(Buffer.alloc(32 * mebibyte)),
};

for (const [what, payload] of Object.entries(payloads)) {
  test(`a payload that does not fit its schema, and nothing more: ${what}`, async () => {
    using device = HttpsDevice.of(gateway, hostile);
    const answer = await device.post('telemetry', payload);
    assert.deepEqual([answer.status, problemCode(answer)], [422, 'schema']);
    assert.equal((await device.post('telemetry', '{"n":5}')).status, 202);
    assert.equal(device.sockets.length, 1);
  });
}

test('nothing that was refused is published, and what is odd but right arrives as it was sent', async () => {
  using subscriber = await connect(be, { clientId: 'be' });
  assert.deepEqual(await subscriber.subscribe('devices/hostile/telemetry'), [1]);
  using device = HttpsDevice.of(gateway, hostile);
  const odd = [
    '{"n":1,"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}',
    '{"n":1e308}',
    String.raw`{"n":1,"s":"\ud83d\ude00"}`,
    ' {\t"n" : -0.0 }\r\n',
  ];
  for (const payload of Object.values(payloads)) {
    assert.equal((await device.post('telemetry', payload)).status, 422);
  }
  for (const payload of odd) assert.equal((await device.post('telemetry', payload)).status, 202);
  assert.equal((await device.post('telemetry', '{"n":1,"polluted":2}')).status, 202);
  await subscriber.message(({ payload }) => payload === '{"n":1,"polluted":2}');
  assert.deepEqual(
    subscriber.messages.map(({ payload }) => payload),
    [...odd, '{"n":1,"polluted":2}'],
  );
});

test('a bomb in any coding is refused unread', async () => {
  const bomb = gzipSync(Buffer.alloc(200 * mebibyte));
  assert.ok(bomb.length < 256 * 1024);
  using device = HttpsDevice.of(gateway, hostile);
  const grown = await growthWhile(async () => {
    for (const coding of ['gzip', 'x-gzip', 'deflate', 'br', 'zstd', 'GZIP', 'identity, gzip']) {
      const answer = await device.post('telemetry', bomb, { 'content-encoding': coding });
      assert.deepEqual([answer.status, problemCode(answer)], [415, 'malformed'], coding);
    }
  });
  assert.ok(grown < 32 * mebibyte, `grown by ${grown} bytes`);
});
