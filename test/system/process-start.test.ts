/** What keeps the gateway from starting: it says why in one line, exits with 1, listens nowhere and makes nothing up. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { runCli } from '../harness/cli.ts';
import type { CliResult } from '../harness/cli.ts';
import { configText, startGateway } from '../harness/gateway.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import type { TemporaryFolder } from '../harness/temporary-folder.ts';

function up(folder: TemporaryFolder): Promise<CliResult> {
  return runCli(['up', '--data', folder.at('data'), '--config', folder.at('sallyport.yaml')]);
}

/** Exit code 1 or 2, nothing on standard output, one line of reason. Children may have logged before it. */
function assertRefused(result: CliResult, folder: TemporaryFolder, says: RegExp): void {
  assert.equal(result.code, 1, result.stderr);
  assert.equal(result.stdout, '');
  assert.match(result.stderr, says);
  assert.doesNotMatch(result.stderr, /^\s+at /m, 'a stack trace is no reason');
  assert.equal(existsSync(folder.at('data', 'run.json')), false);
}

const unusable = [
  { what: 'an empty file', text: '', says: /empty|nothing/ },
  { what: 'comments only', text: '# nothing here\n# yet\n', says: /empty|nothing/ },
  { what: 'what is no YAML', text: 'listeners: { mqtts: [', says: /sallyport\.yaml|line/ },
  { what: 'a list', text: '- listeners\n', says: /mapping|object/ },
  { what: 'a misspelt key', text: configText('rolls: {}'), says: /rolls.*roles/ },
  {
    what: 'a filter that is none',
    text: configText("roles: { odd: { allow: { publish: [ 'a/#/b' ] } } }"),
    says: /roles\.odd\.allow\.publish/,
  },
  {
    what: 'a key twice',
    text: configText('limits: { drain: 2s }\nlimits: { drain: 3s }'),
    says: /limits|unique|twice/i,
  },
  {
    what: 'a section that is not built',
    text: configText('firmware: { keys: [] }'),
    says: /firmware is not available/,
  },
] as const;

for (const { what, text, says } of unusable) {
  test(`does not start with a configuration of ${what}`, async () => {
    using folder = temporaryFolder();
    writeFileSync(folder.at('sallyport.yaml'), text);
    const result = await up(folder);
    assertRefused(result, folder, says);
    assert.match(result.stderr, /^error: [^\n]*\n$/);
  });
}

test('does not start with a configuration that is not there', async () => {
  using folder = temporaryFolder();
  const result = await up(folder);
  assertRefused(result, folder, /sallyport\.yaml/);
});

test('does not start without the master key that it is told to use, and makes none', async () => {
  using folder = temporaryFolder();
  writeFileSync(
    folder.at('sallyport.yaml'),
    configText('ca: { masterKey: { file: not-there.key } }'),
  );
  assertRefused(await up(folder), folder, /not-there\.key/);
  assert.equal(existsSync(folder.at('data', 'control', 'master.key')), false);
});

test('does not start with another master key, and makes no second CA', async () => {
  using folder = temporaryFolder();
  {
    await using gateway = await startGateway({ folder });
    await gateway.stop();
  }
  const control = folder.at('data', 'control');
  const before = filesOf(control);
  const keyFile = join(control, 'master.key');
  const key = readFileSync(keyFile);
  const other = Buffer.from(key);
  // Another key of the same form: its first character is another digit.
  other[0] = other[0] === 0x41 ? 0x42 : 0x41;
  writeFileSync(keyFile, other);
  const result = await up(folder);
  assertRefused(result, folder, /key/i);
  assert.deepEqual(filesOf(control), before);

  writeFileSync(keyFile, key);
  await using gateway = await startGateway({ folder });
  await gateway.stop();
});

function filesOf(path: string): string[] {
  // SQLite's own companions come and go with a process.
  return readdirSync(path)
    .filter((name) => !/-(wal|shm|journal)$/.test(name))
    .toSorted();
}

test('does not start on a port that somebody else has, and says which', async () => {
  using folder = temporaryFolder();
  const taken = createServer();
  await new Promise<void>((resolve) => {
    taken.listen(0, '127.0.0.1', resolve);
  });
  try {
    const address = taken.address();
    assert.ok(typeof address === 'object' && address !== null);
    const config = configText('').replace('port: 0', `port: ${address.port}`);
    writeFileSync(folder.at('sallyport.yaml'), config);
    assertRefused(await up(folder), folder, new RegExp(`127\\.0\\.0\\.1:${address.port}`));
  } finally {
    taken.close();
  }
});

test('a listener of a later version is named in the log and does not listen', async () => {
  await using gateway = await startGateway({ listener: 'amqps: { host: 127.0.0.1, port: 0 }' });
  await gateway.log.logged(
    (line) => line.get('listener') === 'amqps' && line.get('level') === 'warn',
  );
  assert.deepEqual(Object.keys(gateway.run().listeners).toSorted(), ['admin', 'https', 'mqtts']);
  await gateway.stop();
});
