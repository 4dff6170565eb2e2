/** A changed configuration is applied whole, or the last good one stays and the reason is said. */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import type { Identity } from '../harness/gateway.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';

function watcherMaySee(topic: string): string {
  return `roles: { watcher: { allow: { subscribe: [ devices/+/${topic} ] } } }`;
}

const gateway = await startGateway({ workers: 2, config: watcherMaySee('status') });
after(async () => {
  await gateway.stop();
  await gateway[Symbol.asyncDispose]();
});
const watcher = await gateway.service('watcher', 'watcher');

async function subscribeCode(identity: Identity, filter: string): Promise<number> {
  using client = await RawMqtt.open({ port: gateway.mqttsPort, identity });
  assert.equal((await client.connect()).code, 0);
  const [code] = await client.subscribe(filter);
  assert.ok(code !== undefined);
  return code;
}

async function allowed(topic: string): Promise<boolean> {
  return (await subscribeCode(watcher, `devices/+/${topic}`)) === 1;
}

test('reload applies a changed policy to new and to live sessions', async () => {
  gateway.configure(watcherMaySee('status'));
  await gateway.ok('reload');
  assert.equal(await allowed('status'), true);
  assert.equal(await allowed('diagnostics'), false);
  using live = await RawMqtt.open({ port: gateway.mqttsPort, identity: watcher });
  assert.equal((await live.connect({ clientId: 'live' })).code, 0);
  assert.deepEqual(await live.subscribe('devices/+/status'), [1]);

  gateway.configure(watcherMaySee('diagnostics'));
  await gateway.ok('reload');
  assert.equal(await allowed('status'), false);
  assert.equal(await allowed('diagnostics'), true);
  // It holds a subscription that it would not be granted now.
  assert.equal((await live.ended).disconnect, 0x87);
});

test('SIGHUP does the same', async () => {
  gateway.configure(watcherMaySee('status'));
  await gateway.ok('reload');
  gateway.configure(watcherMaySee('command_responses'));
  const since = gateway.log.end;
  gateway.signal('SIGHUP');
  await gateway.log.logged((line) => line.get('msg') === 'configuration reloaded', since);
  assert.equal(await allowed('command_responses'), true);
  assert.equal(await allowed('status'), false);
});

const broken = [
  { what: 'a key that does not exist', config: 'limitz: { drain: 2s }', says: /limitz.*limits/ },
  { what: 'a value of the wrong kind', config: 'limits: { drain: soon }', says: /limits\.drain/ },
  { what: 'what is no YAML', config: 'limits: { drain: 2s', says: /sallyport\.yaml|line \d+/ },
  {
    what: 'a schema file that is not there',
    config: 'routes: { telemetry: { match: devices/+/telemetry, schema: missing.json } }',
    says: /missing\.json/,
  },
] as const;

for (const { what, config, says } of broken) {
  test(`reload refuses ${what}, says why, and the last good policy stays`, async () => {
    gateway.configure(watcherMaySee('status'));
    await gateway.ok('reload');
    gateway.configure(`${config}\n${watcherMaySee('diagnostics')}`);
    const result = await gateway.cli('reload');
    assert.equal(result.code, 1, result.stdout);
    assert.match(result.stderr, /^error: [^\n]*\n$/);
    assert.match(result.stderr, says);
    assert.equal(await allowed('status'), true);
    assert.equal(await allowed('diagnostics'), false);

    const since = gateway.log.end;
    gateway.signal('SIGHUP');
    const line = await gateway.log.logged((entry) => entry.get('level') === 'error', since);
    assert.match(JSON.stringify([...line.values()]), says);
    assert.equal(await allowed('status'), true);
  });
}

for (const { what, spoil } of [
  { what: 'gone', spoil: () => rmSync(gateway.configPath) },
  { what: 'empty', spoil: () => writeFileSync(gateway.configPath, '') },
  { what: 'all comments', spoil: () => writeFileSync(gateway.configPath, '# roles: {}\n') },
]) {
  test(`a configuration that is ${what} is refused, and the last good policy stays`, async () => {
    gateway.configure(watcherMaySee('status'));
    await gateway.ok('reload');
    spoil();
    const result = await gateway.cli('reload');
    assert.equal(result.code, 1, result.stdout);
    assert.match(result.stderr, /sallyport\.yaml/);
    assert.equal(await allowed('status'), true);
  });
}
