import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { SallyportError } from '../base/errors.ts';
import { loadConfigBundle } from './load-config.ts';
import { parseConfig } from './parse-config.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'sallyport-config-'));
after(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string | Buffer): string {
  const file = path.join(folder, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, text);
  return file;
}

function refusal(file: string): SallyportError {
  try {
    loadConfigBundle(file);
  } catch (thrown) {
    assert.ok(thrown instanceof SallyportError);
    assert.equal(thrown.code, 'invalid-config');
    assert.ok(thrown.hint !== undefined);
    return thrown;
  }
  return assert.fail('it was accepted');
}

test('without a path the bundle is empty and stands for the defaults', () => {
  const bundle = loadConfigBundle(undefined);
  assert.deepEqual(bundle, { configPath: undefined, configText: '', files: {} });
  assert.equal(parseConfig(bundle).trustDomain, 'fleet.internal');
});

test('a bundle holds every file that is named and no secret', () => {
  write('schemas/t.json', '{"type":"object"}');
  write('ca.pem', '-----BEGIN CERTIFICATE-----\n');
  write('master.key', 'secret');
  const file = write(
    'good.yaml',
    'routes: { telemetry: { schema: schemas/t.json } }\nca: { masterKey: { file: master.key }, trustAnchors: [ { name: f, file: ca.pem } ] }\n',
  );
  const bundle = loadConfigBundle(path.relative(process.cwd(), file));
  assert.equal(bundle.configPath, file);
  assert.deepEqual(Object.keys(bundle.files).toSorted(), ['ca.pem', 'schemas/t.json']);
  // What the supervisor sends is what control parses.
  const sent = JSON.parse(JSON.stringify(bundle)) as typeof bundle;
  assert.deepEqual(parseConfig(sent).routes[0]?.schema, { type: 'object' });
});

test('a file that is missing is named with its line and key', () => {
  const file = write('missing.yaml', 'workers: 1\nroutes:\n  telemetry:\n    schema: none.json\n');
  assert.match(
    refusal(file).message,
    /missing\.yaml:4: routes\.telemetry\.schema names "none\.json", which cannot be read: ENOENT/u,
  );
  assert.match(
    refusal(path.join(folder, 'none.yaml')).message,
    /none\.yaml: cannot be read: ENOENT/u,
  );
});

test('what is no regular file is not waited for', { timeout: 10_000 }, () => {
  execFileSync('mkfifo', [path.join(folder, 'pipe.json')]);
  for (const name of ['pipe.json', '.', '/dev/zero']) {
    const file = write('special.yaml', `routes: { telemetry: { schema: ${name} } }\n`);
    assert.match(refusal(file).message, /not a regular file/u);
  }
  assert.match(refusal('/dev/zero').message, /not a regular file/u);
});

test('sizes are bounded', () => {
  assert.match(
    refusal(write('big.yaml', `# ${'x'.repeat(1024 * 1024)}\nworkers: 1\n`)).message,
    /larger than 1048576/u,
  );
  write('big.json', Buffer.alloc(4 * 1024 * 1024 + 1, 0x20));
  assert.match(
    refusal(write('b.yaml', 'routes: { telemetry: { schema: big.json } }\n')).message,
    /larger than 4194304/u,
  );
});

test('text that is not UTF-8, or that the schema refuses, is refused before any file is read', () => {
  assert.match(
    refusal(write('latin1.yaml', Buffer.from([0x23, 0xff, 0x0a]))).message,
    /cannot be read/u,
  );
  assert.match(refusal(write('empty.yaml', '')).message, /is empty/u);
  assert.match(refusal(write('comment.yaml', '# nothing\n')).message, /is empty/u);
  assert.match(
    refusal(write('unknown.yaml', 'route: { a: { schema: none.json } }\n')).message,
    /did you mean "routes"/u,
  );
});

const mutualTls = (key: string): string =>
  `routes: { telemetry: { to: [ { http: https://b.example, certificate: gw.pem, key: ${key} } ] } }\n`;

test('keys of backends are read where secrets are asked for, and never among the files', () => {
  write('gw.pem', '-----BEGIN CERTIFICATE-----\n');
  chmodSync(write('gw.key', 'a key'), 0o600);
  const at = 'routes.telemetry.to.0.key';
  const file = write('mutual.yaml', mutualTls('{ file: gw.key }'));
  assert.equal(loadConfigBundle(file).secrets, undefined);
  const bundle = loadConfigBundle(file, {});
  assert.deepEqual({ ...bundle.secrets }, { [at]: 'a key' });
  assert.deepEqual(Object.keys(bundle.files), ['gw.pem']);

  const named = write('named.yaml', mutualTls('{ environment: GATEWAY_KEY }'));
  const environment = { GATEWAY_KEY: path.join(folder, 'gw.key') };
  assert.equal(loadConfigBundle(named, environment).secrets?.[at], 'a key');
  const credential = write('credential.yaml', mutualTls('{ credential: gw.key }'));
  const credentials = { CREDENTIALS_DIRECTORY: folder };
  assert.equal(loadConfigBundle(credential, credentials).secrets?.[at], 'a key');
});

test('a key that others can get at, that is missing or that is named by nothing is refused', () => {
  chmodSync(write('open.key', 'hunter2'), 0o640);
  for (const [key, message] of [
    [
      '{ file: open.key }',
      /:1: routes\.telemetry\.to\.0\.key .*others can get at .*open\.key; run: chmod 600/u,
    ],
    ['{ file: none.key }', /routes\.telemetry\.to\.0\.key cannot be read: ENOENT/u],
    ['{ environment: GATEWAY_KEY }', /the variable GATEWAY_KEY names no file; set GATEWAY_KEY/u],
  ] as const) {
    const file = write('mutual.yaml', mutualTls(key));
    assert.throws(
      () => loadConfigBundle(file, {}),
      (thrown) =>
        thrown instanceof SallyportError &&
        thrown.code === 'invalid-config' &&
        message.test(thrown.message) &&
        !thrown.message.includes('hunter2'),
    );
  }
});
