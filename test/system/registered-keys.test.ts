/** `device key`, `device register`: keys to sign with, from the command line to the workers, and secrets nowhere else. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHmac, hash, randomBytes, randomUUID } from 'node:crypto';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { HttpsDevice } from '../harness/https-device.ts';
import { startGateway } from '../harness/gateway.ts';
import { until } from '../harness/waiting.ts';

const gateway = await startGateway({
  workers: 2,
  config:
    'routes: { telemetry: { match: devices/+/telemetry, rate: [], integrity: { accept: [ hmac ] } } }',
});
after(() => gateway[Symbol.asyncDispose]());

interface Key {
  readonly id: string;
  readonly keyId: string;
  readonly type: string;
  readonly notAfter?: number;
  readonly revokedAt?: number;
  readonly key?: string;
  readonly acknowledged?: number;
}

async function ok<T>(...args: readonly string[]): Promise<T> {
  return (await gateway.ok(...args, '--json')).json() as T; // docs/openapi/admin-api.yaml says so
}

const add = (id: string, ...options: readonly string[]): Promise<Key> =>
  ok<Key>('device', 'key', 'add', id, ...options);
const list = (id: string): Promise<readonly Key[]> =>
  ok<readonly Key[]>('device', 'key', 'list', id);

async function refused(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await gateway.cli(...args);
  assert.notEqual(code, 0, args.join(' '));
  assert.equal(stdout, '');
  assert.equal(stderr.split('\n').length, 2, stderr);
  return stderr;
}

/** Everything that the gateway has written: its log, and every file below its data. */
function written(): readonly (readonly [string, Buffer])[] {
  const files = readdirSync(gateway.dataDir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  return [
    ['the log', Buffer.from(gateway.log.text)],
    ...files.map((path) => [path, readFileSync(path)] as const),
  ];
}

function assertNowhere(secret: Buffer): void {
  const forms = [
    secret,
    ...(['hex', 'base64', 'base64url'] as const).map((form) => Buffer.from(secret.toString(form))),
  ];
  for (const [where, contents] of written()) {
    for (const form of forms) assert.ok(!contents.includes(form), where);
  }
}

test('a device that has no certificate is registered and gets a key, which every worker has', async () => {
  assert.match(await refused('device', 'key', 'add', 'd1'), /sallyport device register d1/);
  await gateway.ok('device', 'register', 'd1', 'd2');
  const { standing, certificates } = await ok<{ standing: string; certificates: unknown[] }>(
    'device',
    'show',
    'd1',
  );
  assert.deepEqual([standing, certificates], ['active', []]);
  const { id, keyId, key, acknowledged } = await add('d1');
  assert.equal(keyId, `d1.${id}`);
  assert.match(key ?? '', /^[0-9a-f]{64}$/);
  assert.equal(acknowledged, 2);
  assertNowhere(Buffer.from(key ?? '', 'hex'));
  const shown = await gateway.ok('device', 'show', 'd1');
  assert.match(shown.stdout, new RegExp(`${keyId} +derived +HMAC-SHA-256`));
});

test('--out writes the key into a file of its owner, whatever the umask', async () => {
  const out = gateway.at('key.json');
  const args = ['device', 'key', 'add', 'd1', '--out', out];
  const { code, stdout } = await gateway.cliWith({ umask: '0000' }, ...args);
  assert.equal(code, 0);
  assert.equal(statSync(out).mode & 0o777, 0o600);
  const { keyId, key } = JSON.parse(readFileSync(out, 'utf8')) as Key; // docs/cli.md says so
  assert.ok((await list('d1')).some((each) => each.keyId === keyId));
  assert.ok(key !== undefined && !stdout.includes(key));
  assert.match(await refused(...args), /is there already and is not overwritten/);
});

test('a key that the device has is read from a file, and is nowhere but sealed', async () => {
  const secret = randomBytes(32);
  const file = gateway.at('secret.bin');
  writeFileSync(file, secret);
  const { type } = await add('d1', '--import', file);
  assert.equal(type, 'secret');
  assertNowhere(secret);
  const again = await refused('device', 'key', 'add', 'd2', '--import', file);
  assert.match(again, /device\/d1 has this key/);
  writeFileSync(file, 'password');
  const weak = await refused('device', 'key', 'add', 'd2', '--import', file);
  assert.match(weak, /too weak: it has 8 bytes, and needs 16/);
  assert.ok(!weak.includes('password'));
});

test('a public key belongs to one identity, by certificate or without', async () => {
  const d3 = await gateway.device('d3');
  const pem = gateway.at('d3.pub');
  writeFileSync(pem, execFileSync('openssl', ['pkey', '-in', d3.key, '-pubout']));
  const taken = await refused('device', 'key', 'add', 'd2', '--public', pem);
  assert.match(taken, /device\/d3 holds this key/);
  const { keyId } = await add('d3', '--public', pem);
  assert.match(keyId, /^d3\.key-[0-9a-f]{8}$/);
  assert.match(await refused('device', 'key', 'add', 'd3', '--public', d3.key), /private key/);
  assert.match(
    await refused('device', 'key', 'add', 'd3', '--public', d3.crt),
    /not one public key/,
  );
});

test('a key takes the place of another, which ends when the overlap does', async () => {
  await gateway.ok('device', 'register', 'd4');
  const first = await add('d4', '--expires', '90d');
  const second = await add('d4', '--replace', first.keyId, '--overlap', '1s');
  const ends = (await list('d4')).find(({ id }) => id === first.id)?.notAfter ?? Infinity;
  assert.ok(ends <= Date.now() + 1_000);
  await until('the end of the overlap', 10_000, () => Date.now() >= ends);
  const late = await refused('device', 'key', 'add', 'd4', '--replace', first.id);
  assert.match(late, new RegExp(`the key ${first.id} of device/d4 has ended`));
  const removed = await ok<Key>('device', 'key', 'remove', 'd4', second.id, '--reason', 'lost');
  assert.equal(removed.acknowledged, 2);
  assert.match(
    await refused('device', 'key', 'remove', 'd4', second.id),
    /has no key .*key list d4/,
  );
});

test('revoking a device ends its keys for good', async () => {
  await gateway.ok('device', 'register', 'd5');
  await add('d5');
  await gateway.ok('device', 'revoke', 'd5', '--reason', 'keyCompromise');
  assert.match(await refused('device', 'key', 'add', 'd5'), /device reinstate d5/);
  await gateway.ok('device', 'reinstate', 'd5');
  const [old] = await list('d5');
  assert.equal(typeof old?.revokedAt, 'number');
  const { id } = await add('d5');
  assert.notEqual(id, old?.id);
});

/** What a reading is answered that is signed with this key, by a device with a certificate (docs/signatures.md). */
async function signedReading(device: HttpsDevice, { keyId, key }: Key): Promise<number> {
  const body = '{"temperature":21}';
  const path = '/api/v1/telemetry';
  const time = String(Math.floor(Date.now() / 1_000));
  const nonce = randomUUID();
  const digest = hash('sha256', body);
  const text = ['SALLYPORT-HMAC-SHA256', 'POST', path, '', time, nonce, keyId, digest].join('\n');
  const secret = Buffer.from(key ?? '', 'hex');
  const headers = {
    'x-iot-timestamp': time,
    'x-iot-nonce': nonce,
    'x-iot-key-id': keyId,
    'x-iot-signature': createHmac('sha256', secret).update(text).digest('hex'),
  };
  return (await device.requestAlone('POST', path, { headers, body })).status;
}

test('what a command has answered holds for the next request, on every worker', async () => {
  using device = new HttpsDevice({ port: gateway.httpsPort, identity: await gateway.device('d6') });
  // A connection for each: either worker may have it.
  const answers = async (key: Key): Promise<readonly number[]> => {
    const all: number[] = [];
    for (let n = 0; n < 6; n++) all.push(await signedReading(device, key));
    return [...new Set(all)];
  };
  const first = await add('d6');
  assert.deepEqual(await answers(first), [202]);
  const second = await add('d6', '--replace', first.id, '--overlap', '1h');
  assert.deepEqual(await answers(first), [202]);
  assert.deepEqual(await answers(second), [202]);
  await gateway.ok('device', 'key', 'remove', 'd6', first.id);
  assert.deepEqual(await answers(first), [401]);
  const third = await add('d6', '--replace', second.id, '--overlap', '0');
  assert.deepEqual(await answers(second), [401]);
  assert.deepEqual(await answers(third), [202]);
  const imported = randomBytes(20);
  const file = gateway.at('d6.hex');
  writeFileSync(file, `${imported.toString('hex')}\n`);
  const own = await add('d6', '--import', file, '--encoding', 'hex', '--id', 'own');
  assert.deepEqual(await answers({ ...own, key: imported.toString('hex') }), [202]);
});

test('services have keys, and operators have none', async () => {
  await gateway.ok('service', 'register', 'ingest', '--role', 'backend');
  const { keyId } = await ok<Key>('service', 'key', 'add', 'ingest');
  assert.match(keyId, /^service:ingest\.[0-9a-z]{8}$/);
  assert.match(
    await refused('service', 'register', 'other', '--role', 'nothing'),
    /there is no role "nothing"/,
  );
  assert.match(await refused('operator', 'key', 'add', 'ann'), /no command/);
});

test('all of it is on record, by name', async () => {
  const lines = await ok<{ action: string; target: string; detail: Record<string, unknown> }[]>(
    'audit-log',
    'show',
  );
  const acts = lines.filter(({ target }) => target === 'device/d4');
  assert.deepEqual(acts.map(({ action }) => action).slice(0, 3), [
    'register',
    'add-key',
    'add-key',
  ]);
  assert.deepEqual(acts.at(-1)?.action, 'remove-key');
  assert.equal(acts.at(-1)?.detail['reason'], 'lost');
  await gateway.ok('audit-log', 'verify');
});

test('keys are there after control has been killed', async () => {
  const before = await list('d1');
  assert.ok(before.length >= 3);
  const { controlPid } = gateway;
  process.kill(controlPid, 'SIGKILL');
  const found = await until('the keys of d1', 60_000, async () => {
    const { code, stdout } = await gateway.cli('device', 'key', 'list', 'd1', '--json');
    return code === 0 ? (JSON.parse(stdout) as readonly Key[]) : undefined;
  });
  assert.deepEqual(found, before);
});
