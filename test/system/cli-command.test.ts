/** `command send`: what an operator types reaches the device as it was typed, is on record, and is refused with a reason. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { hash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { commandLine } from '../harness/cli.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { until } from '../harness/waiting.ts';

const { gateway, connect } = await sharedGateway({
  workers: 2,
  config: 'limits: { commandsPerDevice: 2, payloadBytes: 1KiB }',
});
const [d1, full] = await gateway.devices('d1', 'full', 'lost');
assert.ok(d1 && full);
await gateway.ok('device', 'revoke', 'lost');

async function refused(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await gateway.cli('command', 'send', ...args);
  assert.notEqual(code, 0, args.join(' '));
  assert.equal(stdout, '');
  assert.equal(stderr.split('\n').length, 2, stderr);
  return stderr;
}

/** What the device has acknowledged leaves its mailbox a moment later. */
async function mailboxOfD1IsEmpty(): Promise<void> {
  assert.ok(d1);
  using device = HttpsDevice.of(gateway, d1);
  await until('the mailbox is empty', 30_000, async () => {
    return (await device.request('GET', '/api/v1/commands')).status === 204;
  });
}

test('a command reaches the device byte by byte, whether it was there or came later', async () => {
  using before = await connect(d1);
  await before.subscribe('devices/d1/commands/#');
  const sent = await gateway.ok(
    'command',
    'send',
    'd1',
    'config/set',
    '{ "rate" : 1.50 }',
    '--json',
  );
  assert.match(JSON.stringify(sent.json()), /^\{"id":"[0-9A-Za-z-]{1,64}"\}$/);
  const live = await before.message(({ topic }) => topic === 'devices/d1/commands/config/set');
  assert.equal(live.payload, '{ "rate" : 1.50 }');
  await mailboxOfD1IsEmpty();
  before[Symbol.dispose]();

  const file = gateway.at('payload.txt');
  writeFileSync(file, 'from a file');
  await gateway.ok('command', 'send', 'd1', 'say', '--file', file);
  const [program, ...args] = commandLine(['command', 'send', 'd1', 'say', '-'], undefined);
  execFileSync(program, [...args, '--data', gateway.dataDir], { input: '["from stdin"]' });
  using later = await connect(d1);
  await later.subscribe('devices/d1/commands/#');
  await later.message(({ payload }) => payload === '["from stdin"]');
  assert.ok(later.messages.some(({ payload }) => payload === 'from a file'));
  await mailboxOfD1IsEmpty();
});

test('a command is on record with its size and hash, and its payload nowhere', async () => {
  const payload = '{"pin":"4711-4711-4711"}';
  await gateway.ok('command', 'send', 'd1', 'unlock', payload);
  const lines = (await gateway.ok('audit-log', 'show', '--json')).json() as {
    readonly actor: string;
    readonly action: string;
    readonly target: string;
    readonly detail: Record<string, unknown>;
  }[];
  const line = lines.findLast(({ action }) => action === 'command.send');
  assert.equal(line?.target, 'device/d1');
  assert.match(line.actor, /^local:\d+$/);
  assert.deepEqual(line.detail, {
    name: 'unlock',
    bytes: payload.length,
    sha256: hash('sha256', payload),
  });
  for (const text of [
    gateway.log.text,
    readFileSync(join(gateway.dataDir, 'control', 'audit.jsonl'), 'utf8'),
  ]) {
    assert.ok(!text.includes('4711-4711'));
  }
});

test('what cannot be sent is refused with what to do', async () => {
  assert.match(await refused('nobody', 'go'), /device\/nobody is not known; see: .*device list/);
  assert.match(await refused('lost', 'go'), /device\/lost is revoked .*device reinstate lost/);
  assert.match(await refused('d1', 'go/#'), /no name of a command: .*wildcard/);
  assert.match(await refused('d1', 'go', '{"a":1,}'), /no JSON that every reader takes alike/);
  assert.match(await refused('d1', 'go', '--text', 'x'.repeat(1_025)), /more than 1024 bytes; /);
});

test('a mailbox that is full says so, and holds what it has', async () => {
  await gateway.ok('command', 'send', 'full', 'go', '1');
  await gateway.ok('command', 'send', 'full', 'go', '2');
  await refused('full', 'go', '3');
  using device = await connect(full);
  await device.subscribe('devices/full/commands/#');
  await device.message(({ payload }) => payload === '2');
  assert.deepEqual(
    device.messages.map(({ payload }) => payload),
    ['1', '2'],
  );
});

test('nobody becomes the operator under whose name the command line publishes', async () => {
  const { code, stderr } = await gateway.cli('operator', 'invite', 'local');
  assert.notEqual(code, 0);
  assert.match(stderr, /operator\/local is the command line on the gateway itself; choose another/);
});
