import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { runCommandLine } from './program.ts';

const home = mkdtempSync(join(tmpdir(), 'sallyport-policy-'));
const config = join(home, 'sallyport.yaml');
writeFileSync(
  config,
  `trustDomain: fleet.example
routes:
  telemetry: { match: devices/+/telemetry, rate: { limit: 2/m, burst: 3 } }
roles:
  auditor: { allow: { subscribe: [ 'devices/#' ] }, deny: { subscribe: [ devices/+/diagnostics ] } }
`,
);

after(() => rmSync(home, { recursive: true }));

async function sallyport(...args: readonly string[]) {
  let out = '';
  let err = '';
  const terminal = {
    out: (text: string) => void (out += text),
    err: (text: string) => void (err += text),
    uid: undefined,
  };
  const code = await runCommandLine([...args, '--data', join(home, 'none')], terminal, '0.1.0');
  return { code, out, err };
}

function decision(as: string, ...rest: readonly string[]) {
  return sallyport('policy', 'test', '--as', as, ...rest, '--config', config);
}

test('policy check FILE prints the table of checks and the rules, without a gateway', async () => {
  const { code, out, err } = await sallyport('policy', 'check', config);
  assert.deepEqual([code, err], [0, '']);
  assert.match(out, /^CHECK +ACCEPT +CONNECT +.*PUBLISH +SUBSCRIBE +DELIVER +DENIES WITH$/m);
  assert.match(out, /^authorisation +– +– .*asked +forbidden$/m);
  assert.match(out, /^device +allow +publish +devices\/\$\{id\}\/telemetry$/m);
  assert.match(out, /^auditor +deny +subscribe +devices\/\+\/diagnostics$/m);
  assert.match(out, /^telemetry +devices\/\+\/telemetry +2\/m burst 3 /m);
  const longest = Math.max(...out.split('\n').map((line) => line.length));
  assert.ok(longest <= 140, `${longest} columns`);
  const json = JSON.parse((await sallyport('policy', 'check', config, '--json')).out) as {
    table: { row: string }[];
  };
  assert.equal(json.table[0]?.row, 'source');
});

test('policy check of a bad file is one line that names the place', async () => {
  const bad = join(home, 'bad.yaml');
  for (const [text, place] of [
    ['', 'bad.yaml'],
    ['# nothing but a comment\n', 'bad.yaml'],
    ['trustDomain: a\nrolez: {}\n', 'bad.yaml:2'],
  ] as const) {
    writeFileSync(bad, text);
    const { code, out, err } = await sallyport('policy', 'check', bad);
    assert.deepEqual([code, out], [1, ''], text);
    assert.match(err, /^error: [^\n]+\n$/);
    assert.ok(err.includes(place), err);
  }
});

test('policy test answers with the rule that decided, and succeeds whatever the answer', async () => {
  const foreign = await decision('device/d1', 'publish', 'devices/d2/telemetry');
  assert.equal(foreign.code, 0);
  assert.match(foreign.out, /^answer +deny \(forbidden\)\nbecause +no rule of role "device"/);
  const own = await decision('device/d1', 'publish', 'devices/d1/telemetry');
  assert.match(own.out, /^answer +allow\nbecause +.*roles\.device\.allow\.publish\[0\]/);
  assert.match(own.out, /^route telemetry +2\/m burst 3, any payload/m);
  const denied = await decision(
    'service/x',
    '--role',
    'auditor',
    'subscribe',
    'devices/#',
    '--json',
  );
  const answer = JSON.parse(denied.out) as Record<string, unknown>;
  assert.deepEqual(
    [answer['allowed'], answer['code'], answer['rule']],
    [
      false,
      'forbidden',
      {
        role: 'auditor',
        list: 'deny',
        action: 'subscribe',
        index: 0,
        filter: 'devices/+/diagnostics',
      },
    ],
  );
});

test('policy test does not guess', async () => {
  for (const args of [
    ['d1', 'publish', 'x'],
    ['device/a/b', 'publish', 'x'],
    ['device/d1', 'erase', 'x'],
    ['service/be', 'publish', 'x'],
  ]) {
    const [as = '', ...rest] = args;
    const { code, out, err } = await decision(as, ...rest);
    assert.deepEqual([code, out], [2, ''], args.join(' '));
    assert.match(err, /^error: [^\n]+; [^\n]+\n$/);
  }
});

test('init writes a file once', async () => {
  const file = join(home, 'new.yaml');
  assert.equal((await sallyport('init', '--out', file)).code, 0);
  assert.ok(existsSync(file));
  const text = readFileSync(file, 'utf8');
  const again = await sallyport('init', '--out', file);
  assert.equal(again.code, 1);
  assert.match(again.err, /new\.yaml is there already/);
  assert.equal(readFileSync(file, 'utf8'), text);
});
