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
  assert.match(
    out,
    /^CHECK +ACCEPT +CONNECT +.*PUBLISH +SUBSCRIBE +DELIVER +REQUEST +PROXIED +DENIES WITH$/m,
  );
  assert.match(out, /^authorisation +– +– .*asked +– +asked +forbidden$/m);
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

test('policy check FILE shows where messages go without what may be secret, and warns of plain http', async () => {
  const file = join(home, 'backends.yaml');
  writeFileSync(
    file,
    `routes:
  telemetry:
    to:
      - { http: "http://ingest.example/t0ken?k=hunter2", name: far }
      - { http: "http://127.0.0.1:9000/", name: near, batch: 100 }
`,
  );
  const { code, out, err } = await sallyport('policy', 'check', file);
  assert.deepEqual([code, err], [0, '']);
  assert.match(out, /^telemetry\/far +http:\/\/ingest\.example +1 +none +nothing$/m);
  assert.match(out, /^telemetry\/near +http:\/\/127\.0\.0\.1:9000 +100 +none +nothing$/m);
  assert.equal(out.match(/^warning: /gm)?.length, 1);
  assert.match(out, /^warning: the backend telemetry\/far is sent to over plain http: /m);
  const json = await sallyport('policy', 'check', file, '--json');
  assert.equal((JSON.parse(json.out) as { warnings: string[] }).warnings.length, 1);
  for (const text of [out, json.out]) assert.ok(!/hunter2|t0ken/.test(text));
});

const proxiedConfig = join(home, 'proxied.yaml');
writeFileSync(
  proxiedConfig,
  `routes:
  ingest:
    path: /backend/
    upstream: [ http://127.0.0.1:9000, { url: 'http://b.example:9000', weight: 3 } ]
    integrity: {}
  reports: { path: '/reports/\${id}/', upstream: https://r.example/in/, methods: [ GET ], proxy: { identity: jwt } }
roles:
  auditor: { allow: { request: [ 'GET /backend/' ] }, deny: { request: [ '* /backend/keys/' ] } }
`,
);

test('policy check FILE shows which requests go where', async () => {
  const { code, out, err } = await sallyport('policy', 'check', proxiedConfig);
  assert.deepEqual([code, err], [0, '']);
  assert.match(out, /^auditor +deny +request +\* \/backend\/keys\/$/m);
  assert.match(
    out,
    /^ingest +GET HEAD .*DELETE +\/backend\/ +device +certificate, signed +no limit/m,
  );
  assert.match(out, /^reports +GET +\/reports\/\$\{id\}\/ +device +certificate +/m);
  assert.match(out, /^ingest +http:\/\/b\.example:9000 +3 +as it is +none +nothing +headers$/m);
  assert.match(
    out,
    /^reports +https:\/\/r\.example +1 +\/in\/ +public CAs +nothing +headers, assertion$/m,
  );
  assert.equal(out.match(/^warning: /gm)?.length, 1);
  assert.match(
    out,
    /^warning: the requests of the route ingest are sent on over plain http: .*b\.example:9000/m,
  );
  const longest = Math.max(
    ...out
      .replace(/^warning:.*$/gm, '')
      .split('\n')
      .map((line) => line.length),
  );
  assert.ok(longest <= 140, `${longest} columns`);
});

test('policy test says of a request where it goes and what decides', async () => {
  const ask = (as: string, request: string, ...more: readonly string[]) =>
    sallyport('policy', 'test', '--as', as, 'request', request, '--config', proxiedConfig, ...more);
  const allowed = await ask('device/d1', 'GET /backend/%78?q=1');
  assert.equal(allowed.code, 0);
  assert.match(allowed.out, /^answer +allow\nbecause +allowed by routes\.ingest\.roles$/m);
  assert.match(
    allowed.out,
    /^path +\/backend\/x\nroute ingest +\/backend\/: by certificate, signed; /m,
  );
  const denied = await ask('service/x', 'GET /backend/keys/1', '--role', 'auditor', '--json');
  const answer = JSON.parse(denied.out) as Record<string, unknown>;
  assert.deepEqual(
    [answer['allowed'], answer['code'], answer['path']],
    [false, 'forbidden', '/backend/keys/1'],
  );
  for (const [request, code] of [
    ['GET /reports/d2/x', 'not-found'],
    ['POST /reports/d1/x', 'not-found'],
    ['GET /backend/..%2fx', 'malformed'],
    ['GET /api/v1/telemetry', 'not-found'],
  ] as const) {
    assert.match(
      (await ask('device/d1', request)).out,
      new RegExp(`^answer +deny \\(${code}\\)$`, 'm'),
    );
  }
  const { code, err } = await ask('device/d1', '/backend/x');
  assert.equal(code, 2);
  assert.match(err, /^error: "\/backend\/x" is no request; write a method and a path/);
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
