import assert from 'node:assert/strict';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { after, beforeEach, test } from 'node:test';
import { CommandLine } from '../../test/harness/command-line.ts';
import { principalName } from '../common/base/principal.ts';

const line = await CommandLine.start();
after(() => line[Symbol.dispose]());

const d1 = principalName('device', 'd1');
const key = '5a'.repeat(32);
let files = 0;

beforeEach(async () => {
  line.renew();
  await line.services.createLab('local:0', d1, undefined);
  line.services.calls.length = 0;
});

const sallyport = (...args: readonly string[]) => line.run(...args);

function fileWith(contents: string | Buffer): string {
  files += 1;
  const path = line.at(`file-${files}`);
  writeFileSync(path, contents);
  return path;
}

const terms = { ttlMs: undefined, replaces: undefined };

test('a key that is made is shown as the device needs it', async () => {
  const { code, out, err } = await sallyport('device', 'key', 'add', 'd1');
  assert.deepEqual([code, err], [0, '']);
  assert.equal(
    out,
    `device/d1 signs with this; it is not shown again:

key id       d1.k1
key, hex     ${key}
key, base64  ${Buffer.from(key, 'hex').toString('base64')}

HMAC-SHA-256, good until it is removed. How to sign: docs/signatures.md.
`,
  );
  assert.deepEqual(line.services.calls, [
    ['addKey', 'local:1000', d1, { key: { type: 'derived' }, ...terms }],
  ]);
  const json = await sallyport('device', 'key', 'add', 'd1', '--json');
  const { keyId, key: hex } = JSON.parse(json.out) as { keyId: string; key: string };
  assert.deepEqual([keyId, hex], ['d1.k1', key]);
});

for (const flags of [[], ['--json']]) {
  test(`with --out it is in a file of its owner and not on the screen ${flags.join()}`, async () => {
    const out = line.at(`out${flags.join()}`);
    const result = await sallyport('device', 'key', 'add', 'd1', '--out', out, ...flags);
    assert.deepEqual([result.code, result.err], [0, '']);
    assert.ok(!result.out.includes(key) && result.out.includes(out));
    assert.deepEqual(JSON.parse(readFileSync(out, 'utf8')), { keyId: 'd1.k1', key });
    assert.equal(statSync(out).mode & 0o777, 0o600);
    const before = line.services.calls.length;
    const again = await sallyport('device', 'key', 'add', 'd1', '--out', out, ...flags);
    assert.match(again.err, /is there already and is not overwritten/);
    assert.equal(again.code, 1);
    assert.equal(line.services.calls.length, before, 'nothing was made');
  });
}

test('a key that was made and cannot be written is told of', async () => {
  const { code, out, err } = await sallyport(
    'device',
    'key',
    'add',
    'd1',
    '--out',
    line.at('x'.repeat(300)),
  );
  assert.deepEqual([code, out], [1, '']);
  assert.match(
    err,
    /^error: the key d1\.k1 was made and is lost: .*; remove it, .*: sallyport device key remove d1 d1\.k1\n$/,
  );
  assert.ok(!err.includes(key));
});

test('no key is made for a file that cannot be written', async () => {
  const out = line.at('no', 'where');
  const { code, err } = await sallyport('device', 'key', 'add', 'd1', '--out', out);
  assert.equal(code, 1);
  assert.match(err, /cannot write .*; nothing was made; /);
  assert.deepEqual(line.services.calls, []);
});

test('times and the key that is replaced are passed on', async () => {
  for (const [args, replaces] of [
    [[], { id: 'old', overlapMs: 7 * 86_400_000 }],
    [['--overlap', '12h'], { id: 'old', overlapMs: 12 * 3_600_000 }],
    [['--overlap', '0'], { id: 'old', overlapMs: 0 }],
  ] as const) {
    const replace = ['--replace', 'd1.old', '--expires', '90d', ...args];
    const { code, out } = await sallyport('device', 'key', 'add', 'd1', ...replace);
    assert.equal(code, 0);
    assert.match(out, /good until 2027-01-30 00:00:00Z\. .*\nThe key d1\.old is good until/);
    const order = { key: { type: 'derived' }, ttlMs: 90 * 86_400_000, replaces };
    assert.deepEqual(line.services.calls.at(-1), ['addKey', 'local:1000', d1, order]);
  }
});

test('a key of the device is read from its file, as it is encoded', async () => {
  const secret = Buffer.from('00ff0a5a7e2b9c4d8e1f6a3b5c7d9e0f', 'hex');
  const hex = secret.toString('hex');
  for (const [contents, flags, id] of [
    [secret, [], undefined],
    [`${hex}\n`, ['--encoding', 'hex'], undefined],
    [hex.toUpperCase(), ['--encoding', 'hex'], undefined],
    [`${secret.toString('base64')}\n`, ['--encoding', 'base64'], undefined],
    [secret.toString('base64url'), ['--encoding', 'base64', '--id', 'factory'], 'factory'],
  ] as const) {
    const args = ['device', 'key', 'add', 'd1', '--import', fileWith(contents), ...flags];
    const { code, out, err } = await sallyport(...args);
    assert.deepEqual([code, err], [0, '']);
    assert.match(out, new RegExp(`^device/d1 signs as d1\\.${id ?? 'k1'}\\. HMAC-SHA-256`));
    const order = { key: { type: 'secret', secret, id }, ...terms };
    assert.deepEqual(line.services.calls.at(-1)?.[3], order);
  }
  const pem = '-----BEGIN PUBLIC KEY-----\n…';
  await sallyport('service', 'key', 'add', 'd1', '--public', fileWith(pem), '--id', 'own');
  assert.deepEqual(line.services.calls.at(-1)?.slice(2), [
    'service/d1',
    { key: { type: 'public', pem, id: 'own' }, ...terms },
  ]);
});

test('what is wrong is refused before anybody is asked, and no secret is repeated', async () => {
  const secret = 'c0ffee!c0ffee!c0ffee';
  const file = fileWith(secret);
  const pem = fileWith('-----BEGIN PRIVATE KEY-----\n');
  for (const [args, message] of [
    [['--import', file, '--public', file], /one key at a time/],
    [['--import', fileWith(`${secret}\n`)], /ends with a line break: .*printf %s/],
    [['--import', file, '--encoding', 'hex'], /is not hex/],
    [['--import', file, '--encoding', 'base64'], /is not base64/],
    [
      ['--import', file, '--encoding', 'rot13'],
      /no encoding "rot13"; use one of: raw, hex, base64/,
    ],
    [['--encoding', 'hex'], /--encoding is of the file of --import/],
    [['--id', 'mine'], /--id is for a key that the device has already/],
    [['--import', file, '--out', line.at('x')], /--out is for a key that is made here/],
    [['--public', pem], /private key, which stays on the device; .*-pubout/],
    [['--overlap', '1h'], /--overlap is of the key that --replace names/],
    [['--expires', 'tomorrow'], /"tomorrow" is no duration/],
    [['--expires', '20000d'], /--expires is 20000d, and 3660d at most/],
    [['--replace', 'k1', '--overlap', '93d'], /--overlap is 93d, and 92d at most/],
    [['--import', fileWith('')], /is empty/],
    [['--replace', 'd2.k1'], /"d2\.k1" is no key of device\/d1; see: .* key list d1/],
  ] as const) {
    const { code, out, err } = await sallyport('device', 'key', 'add', 'd1', ...args);
    assert.deepEqual([code, out], [2, ''], args.join(' '));
    assert.match(err, message);
    assert.ok(!err.includes('c0ffee'));
    assert.equal(err.split('\n').length, 2);
  }
  for (const args of [
    ['device', 'key', 'add', 'd/1'],
    ['device', 'key', 'list', 'd/1'],
    ['device', 'key', 'remove', 'd/1', 'k1'],
    ['device', 'key', 'remove', 'd1', ''],
    // The key of another is none of its own.
    ['device', 'key', 'remove', 'd1', 'd2.k1'],
    ['device', 'register', 'd2', 'd/1'],
  ]) {
    const { code, err } = await sallyport(...args);
    assert.equal(code, 2, err);
  }
  assert.deepEqual(line.services.calls, []);
});

test('a key is removed by its id or by its name on the wire', async () => {
  for (const named of ['k1', 'd1.k1']) {
    const { code, out } = await sallyport(
      'device',
      'key',
      'remove',
      'd1',
      named,
      '--reason',
      'lost',
    );
    assert.deepEqual([code, out], [0, 'The key d1.k1 has ended.\n']);
    assert.deepEqual(line.services.calls.at(-1), ['removeKey', 'local:1000', d1, 'k1', 'lost']);
  }
});

test('keys are listed in a table, with the device and by themselves', async () => {
  const table = `KEY  KEY ID  TYPE     ALGORITHM     ADDED                 UNTIL  REVOKED  SHA-256
k1   d1.k1   derived  HMAC-SHA-256  2026-11-01 00:00:00Z  -      -        -
`;
  assert.equal((await sallyport('device', 'key', 'list', 'd1')).out, table);
  assert.ok((await sallyport('device', 'show', 'd1')).out.endsWith(`\n${table}`));
  const json = await sallyport('device', 'key', 'list', 'd1', '--json');
  assert.deepEqual(JSON.parse(json.out), JSON.parse(JSON.stringify(line.services.keys(d1))));
});

test('devices and services are registered without a certificate', async () => {
  const { code, out } = await sallyport('device', 'register', 'd1', 'd2');
  assert.deepEqual(
    [code, out],
    [
      0,
      'device/d1 was registered already.\ndevice/d2 is registered. Give it a key: sallyport device key add d2\n',
    ],
  );
  await sallyport('service', 'register', 'ingest', '--role', 'backend');
  assert.deepEqual(line.services.calls.slice(-2), [
    ['registerPrincipal', 'local:1000', 'device/d2', undefined],
    ['registerPrincipal', 'local:1000', 'service/ingest', 'backend'],
  ]);
});
