/**
 * Who may read what. Started as root, control and the workers are users of their own and the folders are theirs; started
 * as anybody else there is one trust domain, and `status` says so.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, lstatSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runCli } from '../harness/cli.ts';
import { startGateway } from '../harness/gateway.ts';
import { argumentsOf, environmentOf, userOf } from '../harness/processes.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

const isRoot = process.getuid?.() === 0;

// A folder that only its owner may enter, as a careful operator makes it, and a umask that forbids nothing.
const folder = temporaryFolder();
chmodSync(folder.path, 0o700);
const gateway = await startGateway({ workers: 2, folder, umask: '000' });
after(async () => {
  await gateway.stop();
  await gateway[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});
const control = join(gateway.dataDir, 'control');
const worker = join(gateway.dataDir, 'worker');

function idOf(user: string): number {
  return Number(execFileSync('id', ['-u', user]));
}

test('each wing runs as its own user', async () => {
  const { control: controls, workers } = gateway.processes();
  assert.equal(controls.length, 1);
  assert.equal(workers.length, 2);
  const own = process.getuid?.() ?? -1;
  assert.equal(userOf(gateway.pid), own);
  for (const pid of controls) assert.equal(userOf(pid), isRoot ? idOf('sallyport-ctl') : own);
  for (const pid of workers) assert.equal(userOf(pid), isRoot ? idOf('sallyport-wrk') : own);
  const status = (await gateway.ok('status', '--json')).json();
  assert.ok(typeof status === 'object' && status !== null && 'separateUsers' in status);
  assert.equal(status.separateUsers, isRoot);
});

test('the folders of the wings are 0700, each of its own user', () => {
  for (const [path, user] of [
    [control, 'sallyport-ctl'],
    [worker, 'sallyport-wrk'],
  ] as const) {
    const { mode, uid } = statSync(path);
    assert.equal(mode & 0o777, 0o700, path);
    assert.equal(uid, isRoot ? idOf(user) : process.getuid?.());
  }
});

test('under umask 000 no file of the gateway is open to others, and none but run.json may be read', async () => {
  const device = await gateway.device('files');
  using client = await RawMqtt.open({ port: gateway.mqttsPort, identity: device });
  assert.equal((await client.connect()).code, 0);
  await client.publish('devices/files/status', '{}', { retain: true });
  const names = readdirSync(gateway.dataDir, { recursive: true, encoding: 'utf8' });
  assert.ok(names.includes(join('control', 'audit.jsonl')));
  for (const name of names) {
    const { mode } = lstatSync(join(gateway.dataDir, name));
    const rights = (mode & 0o777).toString(8);
    if (name === 'run.json') assert.equal(mode & 0o022, 0, `${name} is ${rights}`);
    else assert.equal(mode & 0o077, 0, `${name} is ${rights}`);
  }
});

test('keys that a command writes under umask 000 are 0600', async () => {
  const out = folder.at('open-lab');
  const created = await runCli(
    ['device', 'create', 'k1', '--out', out, '--data', gateway.dataDir],
    { umask: '000' },
  );
  assert.equal(created.code, 0, created.stderr);
  assert.equal(statSync(join(out, 'k1.key')).mode & 0o777, 0o600);
});

test('a worker cannot read what control has, even from inside the data directory', () => {
  const user = isRoot ? idOf('sallyport-wrk') : undefined;
  // Begun in the data directory, as the worker is: the folders above are not what keeps it out.
  const run = (program: string, ...args: readonly string[]) =>
    spawnSync(program, args, {
      cwd: gateway.dataDir,
      ...(user === undefined ? {} : { uid: user, gid: user }),
      encoding: 'utf8',
    });
  const own = run('ls', '-l', 'worker');
  assert.equal(own.status, 0, own.stderr);
  const seen = run('ls', '-l', 'control');
  if (!isRoot) {
    // One trust domain: the documentation says so, and this is what it means.
    assert.equal(seen.status, 0);
    return;
  }
  assert.notEqual(seen.status, 0);
  assert.match(seen.stderr, /Permission denied/);
  assert.notEqual(run('cat', 'control/audit.jsonl').status, 0);
});

test('no secret is in the arguments or the environment of any process', () => {
  const { control: controls, workers } = gateway.processes();
  for (const pid of [gateway.pid, ...controls, ...workers]) {
    for (const text of [argumentsOf(pid), environmentOf(pid)]) {
      assert.doesNotMatch(text, /PRIVATE KEY/);
      // 32 bytes or more in hex or base64, but no path.
      assert.doesNotMatch(text, /(?:^|[\s=])(?:[0-9a-f]{64}|[A-Za-z0-9+]{43}=)(?:\s|$)/m);
    }
  }
});

test('no secret and no payload is in the log', async () => {
  const device = await gateway.device('quiet');
  using client = await RawMqtt.open({ port: gateway.mqttsPort, identity: device });
  const password = 'hunter2-hunter2-hunter2';
  await client.connect({ userName: 'quiet', password });
  await client.publish('devices/quiet/telemetry', '{"secret":"payload-4711"}');
  await client.publish('devices/other/telemetry', '{"secret":"payload-4712"}');
  await gateway.log.logged((line) => line.get('resource') === 'devices/other/telemetry');
  assert.doesNotMatch(gateway.log.text, /hunter2|payload-471|PRIVATE KEY/);
});

test('a second gateway on the same data is refused, and the first is not disturbed', async () => {
  const result = await runCli(['up', '--data', gateway.dataDir, '--config', gateway.configPath]);
  assert.equal(result.code, 1);
  assert.match(result.stderr, new RegExp(`another gateway runs on .*${gateway.pid}.*--data`));
  assert.equal(gateway.run().pid, gateway.pid);
  assert.equal((await gateway.cli('status')).code, 0);
});

test('a data directory far down is no obstacle', async () => {
  // A Unix socket's path has 107 bytes: the gateway must not depend on where its data is.
  using deep = temporaryFolder();
  const long = deep.at('x'.repeat(100));
  mkdirSync(long, { mode: 0o700 });
  const inside = {
    path: long,
    at: (...names: readonly string[]) => join(long, ...names),
    [Symbol.dispose]: () => {},
  };
  await using other = await startGateway({ folder: inside });
  await other.device('deep');
  await other.stop();
});
