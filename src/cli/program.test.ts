import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { ClientRequest, createServer } from 'node:http';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { systemClock } from '../common/base/clock.ts';
import { silentLogger } from '../common/base/logger.ts';
import { localCaller } from '../control/admin/callers.ts';
import { FakeServices } from '../control/admin/fake-services.ts';
import { createRequestHandler } from '../control/admin/request-handler.ts';
import { adminRoutes } from '../control/admin/routes.ts';
import { SourceBrake } from '../control/admin/source-brake.ts';
import { runCommandLine } from './program.ts';

const home = realpathSync(mkdtempSync(join(tmpdir(), 'sallyport-cli-')));
/** Longer than the path of a Unix socket may be. */
const dataDir = join(home, 'a-long-name-'.repeat(10), 'another-long-name-'.repeat(5), 'data');
let services = new FakeServices();
let server: Server;

before(async () => {
  mkdirSync(join(dataDir, 'control'), { recursive: true });
  server = createServer((request, response) =>
    createRequestHandler({
      services,
      routes: adminRoutes,
      brake: new SourceBrake(systemClock),
      logger: silentLogger,
      identify: localCaller,
    })(request, response),
  );
  const cwd = process.cwd();
  process.chdir(join(dataDir, 'control'));
  await new Promise<void>((resolve) => {
    server.listen('admin.sock', resolve);
    process.chdir(cwd);
  });
});

beforeEach(() => {
  services = new FakeServices();
});

after(() => {
  server.close();
  rmSync(home, { recursive: true });
});

async function sallyport(...args: readonly string[]) {
  const cwd = process.cwd();
  let out = '';
  let err = '';
  const terminal = {
    out: (text: string) => void (out += text),
    err: (text: string) => void (err += text),
    uid: 1000,
  };
  const code = await runCommandLine(args, terminal, '0.1.0');
  assert.equal(process.cwd(), cwd, 'the working directory is as before');
  return { code, out, err };
}

/** With the data directory of the fake gateway. */
function here(...args: readonly string[]) {
  return sallyport(...args, '--data', dataDir);
}

test('the socket is reached through a path longer than a socket path may be', async () => {
  assert.ok(join(dataDir, 'control', 'admin.sock').length > 200);
  const { code, out } = await here('status');
  assert.equal(code, 0);
  assert.equal(
    out,
    `version         0.1.0
started         2026-11-01 00:00:00Z
configuration   embedded defaults
trust domain    fleet.example
listener mqtts  0.0.0.0:8883
listener https  0.0.0.0:8443
listener admin  127.0.0.1:9443
identities      2 devices, 1 services, 0 operators
snapshot        epoch 1, seq 42
users           one user for all processes (not started as root): one trust domain

WORKER  PID   CONNECTIONS  SESSIONS  SEQ
0       4711  2            1         42
`,
  );
});

test('--data and --json are taken before and after the command', async () => {
  for (const args of [
    ['--data', dataDir, '--json', 'device', 'list'],
    ['device', '--json', 'list', '--data', dataDir],
    ['device', 'list', '--json', '--data', dataDir],
  ]) {
    assert.deepEqual(await sallyport(...args), { code: 0, out: '[]\n', err: '' });
  }
});

test('without a gateway the error says how to start one', async () => {
  for (const dir of [join(home, 'nowhere'), join(home, 'stopped')]) {
    if (dir.endsWith('stopped')) mkdirSync(join(dir, 'control'), { recursive: true });
    const { code, out, err } = await sallyport('status', '--data', dir);
    assert.deepEqual([code, out], [1, '']);
    assert.equal(
      err,
      `error: no gateway runs on ${dir}; start one with "npm start" or "sallyport up --data ${dir}", or name its folder with --data\n`,
    );
  }
});

test('unknown commands are answered with those that exist', async () => {
  assert.deepEqual(await sallyport('firmware', 'add'), {
    code: 2,
    out: '',
    err: 'error: there is no command "sallyport firmware"; commands: up, init, status, reload, doctor, device, service, operator, enrolment, command, route, ca, policy, schema, audit-log, simulate\n',
  });
  assert.deepEqual(await sallyport('service', 'show', 'be'), {
    code: 2,
    out: '',
    err: 'error: there is no command "sallyport service show"; commands: create, register, list, suspend, resume, revoke, key\n',
  });
  const bare = await sallyport('operator');
  assert.deepEqual(
    [bare.code, bare.err],
    [2, 'error: sallyport operator needs a command; commands: invite, list, revoke\n'],
  );
});

test('a wrong command line is one line on standard error', async () => {
  for (const args of [
    ['device', 'show'],
    ['device', 'show', 'd1', '--frobnicate'],
    ['device', 'create', 'd1'],
    ['device', 'create', 'a/b', '--out', home],
    ['device', 'enroll', '--out', home],
    ['service', 'create', 'be', '--out', home],
    ['operator', 'invite', 'ann', '--ttl', '1 fortnight'],
    ['up', '--workers', '0'],
    ['audit-log', 'show', '--limit', 'x\u001b[2J'],
  ]) {
    const { code, out, err } = await here(...args);
    assert.deepEqual([code, out], [2, ''], args.join(' '));
    assert.match(err, /^error: [^\n\u001b]+\n$/, args.join(' '));
  }
});

test('--version and --help succeed on standard output', async () => {
  assert.deepEqual(await sallyport('--version'), { code: 0, out: '0.1.0\n', err: '' });
  const help = await sallyport('device', 'create', '--help');
  assert.equal(help.code, 0);
  assert.match(help.out, /--out <dir>[\s\S]*--data <dir>[\s\S]*--json/);
});

test('device create writes a key that only its owner reads, under any umask', async () => {
  const lab = join(home, 'lab');
  const umask = process.umask(0);
  const { code, out } = await here('device', 'create', 'd1', 'd2', '--out', lab);
  process.umask(umask);
  assert.equal(code, 0);
  assert.match(out, /^device\/d1: .*lab\/d1\.key, .*lab\/d1\.crt\ndevice\/d2: /);
  assert.match(out, /laboratories only/);
  assert.equal(readFileSync(join(lab, 'd2.key'), 'utf8'), 'KEY OF device/d2\n');
  assert.equal(readFileSync(join(lab, 'd2.crt'), 'utf8'), 'CERTIFICATE OF device/d2\n');
  assert.equal(readFileSync(join(lab, 'ca.crt'), 'utf8'), 'ROOT CERTIFICATE\n');
  assert.equal(statSync(join(lab, 'd1.key')).mode & 0o777, 0o600);
  assert.deepEqual(services.calls[0], ['createLab', 'local:1000', 'device/d1', undefined]);

  const again = await here('device', 'create', 'd3', 'd1', '--out', lab);
  assert.equal(again.code, 1);
  assert.match(again.err, /^error: .*d1\.key is there already and is not overwritten; /);
  assert.equal(services.calls.length, 2, 'nothing was created');
  assert.ok(!existsSync(join(lab, 'd3.key')));
});

test('service create asks for a role and passes it on', async () => {
  const lab = join(home, 'lab-service');
  const { code, out } = await here(
    'service',
    'create',
    'be',
    '--role',
    'backend',
    '--out',
    lab,
    '--json',
  );
  assert.equal(code, 0);
  const [created] = JSON.parse(out) as Record<string, unknown>[];
  assert.deepEqual(created, {
    name: 'service/be',
    key: join(lab, 'be.key'),
    certificate: join(lab, 'be.crt'),
    ca: join(lab, 'ca.crt'),
    serial: '01',
    notAfter: Date.UTC(2027, 10, 1),
  });
  assert.deepEqual(services.calls[0], ['createLab', 'local:1000', 'service/be', 'backend']);
});

test('lists are tables for people and all pages of them', async () => {
  for (let i = 0; i < 1001; i += 1) {
    await services.createLab('x', `device/d${String(i).padStart(4, '0')}` as never, undefined);
  }
  const { out } = await here('device', 'list');
  const lines = out.trimEnd().split('\n');
  assert.equal(lines.length, 1002);
  assert.equal(
    lines[0],
    'ID     STANDING  ROLE    CREATED               SEEN  EXPIRES               REASON',
  );
  assert.equal(
    lines[1001],
    'd1000  active    device  2026-11-01 00:00:00Z  -     2027-11-01 00:00:00Z',
  );
});

test('a standing change says who acknowledged; a refusal passes on the hint of the gateway', async () => {
  await here('device', 'create', 'd1', '--out', join(home, 'lab-standing'));
  const done = await here('device', 'revoke', 'd1', '--reason', 'stolen');
  assert.deepEqual(done, {
    code: 0,
    out: 'device/d1 is revoked (2 workers acknowledged); CRL and OCSP say: unspecified.\n',
    err: '',
  });
  const [, actor, name, action, reason] = services.calls.at(-1) ?? [];
  assert.deepEqual([actor, name, action, reason], ['local:1000', 'device/d1', 'revoke', 'stolen']);
  const shown = await here('device', 'show', 'd1');
  assert.match(shown.out, /^standing +revoked$/m);
  const refused = await here('device', 'suspend', 'd9', '--json');
  assert.deepEqual(refused, {
    code: 1,
    out: '',
    err: 'error: device/d9 is not known; enrol it first\n',
  });
});

test('device enroll signs one request', async () => {
  const csr = join(home, 'one.csr');
  const out = join(home, 'one.crt');
  makeCsr(csr, '/CN=one');
  const { code } = await here('device', 'enroll', 'one', '--csr', csr, '--out', out);
  assert.equal(code, 0);
  assert.equal(readFileSync(out, 'utf8'), 'CERTIFICATE OF device/one\n');
  assert.deepEqual(services.calls[0]?.slice(0, 3), ['enrol', 'local:1000', 'device/one']);
  writeFileSync(csr, 'no request');
  const bad = await here('device', 'enroll', 'one', '--csr', csr, '--out', join(home, 'bad.crt'));
  assert.equal(bad.err, 'error: this is no certificate request; make one with openssl req\n');
  assert.ok(!existsSync(join(home, 'bad.crt')));
});

test('device enroll of a folder goes on after a failure, and goes on where it stopped', async () => {
  const folder = join(home, 'csrs');
  const out = join(home, 'certs');
  mkdirSync(folder);
  makeCsr(join(folder, 'a.csr'), '/CN=meter-1');
  makeCsr(join(folder, 'b.csr'), '/O=Acme');
  writeFileSync(join(folder, 'c.csr'), 'no request');
  makeCsr(join(folder, 'd.csr'), '/CN=meter-1');
  writeFileSync(join(folder, 'readme.txt'), '');
  const first = await here('device', 'enroll', '--csr-dir', folder, '--out', out, '--json');
  assert.equal(first.code, 1);
  assert.match(first.err, /^error: 2 of 4 requests failed; .*run the same command again/);
  const results = JSON.parse(first.out) as { file: string; id: string; result: string }[];
  assert.deepEqual(
    results.map(({ file, id, result }) => [file, id, result]),
    [
      ['a.csr', 'meter-1', 'enrolled'],
      ['b.csr', 'b', 'enrolled'],
      ['c.csr', 'c', 'failed'],
      ['d.csr', 'meter-1', 'failed'],
    ],
  );
  assert.equal(readFileSync(join(out, 'a.crt'), 'utf8'), 'CERTIFICATE OF device/meter-1\n');
  assert.ok(!existsSync(join(out, 'c.crt')) && !existsSync(join(out, 'd.crt')));

  rmSync(join(folder, 'd.csr'));
  makeCsr(join(folder, 'c.csr'), '/CN=c');
  const calls = services.calls.length;
  const second = await here('device', 'enroll', '--csr-dir', folder, '--out', out);
  assert.deepEqual([second.code, second.err], [0, '']);
  assert.match(second.out, /^FILE +DEVICE +RESULT +CERTIFICATE\na\.csr +meter-1 +kept/);
  assert.deepEqual(
    services.calls.slice(calls).map(([, , name]) => name),
    ['device/c'],
  );
});

test('operator invite shows the token once, with its end', async () => {
  const { out } = await here('operator', 'invite', 'ann', '--ttl', '2h', '--json');
  assert.deepEqual(JSON.parse(out), {
    token: 'token-of-32-characters',
    expires: Date.UTC(2026, 10, 1, 2),
  });
  const text = await here('operator', 'invite', 'ann');
  assert.match(text.out, /^token-of-32-characters\nGood once, until 2026-11-01 01:00:00Z, /);
});

test('ca export-root has the key on disk before the gateway forgets it, and overwrites nothing', async () => {
  const file = join(home, 'root.key');
  writeFileSync(file, 'precious');
  const refused = await here('ca', 'export-root', file);
  assert.match(refused.err, /root\.key is there already/);
  assert.equal(readFileSync(file, 'utf8'), 'precious');
  assert.equal(services.rootKeyHere, true);
  rmSync(file);
  assert.equal((await here('ca', 'export-root', file)).code, 0);
  assert.equal(readFileSync(file, 'utf8'), 'ROOT KEY\nROOT CERTIFICATE\n');
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(services.rootKeyHere, false);
  assert.match((await here('ca', 'show')).out, /The root key is not on this machine\./);
});

test('ca rotate says which key, with the keys that are kept elsewhere, and what is to be done', async () => {
  const file = join(home, 'root-keys');
  writeFileSync(file, 'ROOT KEY\n');
  const table: readonly (readonly [readonly string[], object])[] = [
    [[], { role: 'issuing', force: false, rootKeys: undefined }],
    [['--root', '--root-key', file], { role: 'root', force: false, rootKeys: 'ROOT KEY\n' }],
    [['--server', '--force'], { role: 'server', force: true, rootKeys: undefined }],
  ];
  for (const [options, order] of table) {
    const { code, out } = await here('ca', 'rotate', ...options);
    assert.equal(code, 0);
    assert.match(out, /^In service: CN=\w+, serial 0a, until 2027-11-01 00:00:00Z\.\n/);
    assert.equal(out.includes('Note: devices are cut off.\n'), options.includes('--force'));
    assert.deepEqual(services.calls.at(-1), ['rotateCa', 'local:1000', order]);
  }
  const both = await here('ca', 'rotate', '--root', '--server');
  assert.equal(both.code, 2);
  assert.match(both.err, /exclude each other/);
});

test('ca check asks for every page, and fails when something is amiss', async () => {
  services.issued = Array.from({ length: 450 }, () => []);
  const good = await here('ca', 'check');
  assert.deepEqual(
    [good.code, good.out],
    [0, '450 certificates checked: each is what it should be.\n'],
  );
  const asked = services.calls.filter(([name]) => name === 'checkIssued');
  assert.deepEqual(
    asked.map(([, from]) => from),
    [0, 200, 400],
  );
  const amiss = { serial: '0a', principal: 'device/d1', problem: 'it is a CA' };
  services.issued[449] = [amiss];
  const bad = await here('ca', 'check');
  assert.equal(bad.code, 1);
  assert.match(bad.out, /0a +device\/d1 +it is a CA\n\n450 certificates checked\./);
  const json = await here('ca', 'check', '--json');
  assert.deepEqual(JSON.parse(json.out), { checked: 450, problems: [amiss] });
});

test('ca pins shows all keys or one, as a table and as sources', async () => {
  const table = await here('ca', 'pins');
  assert.match(table.out, /root +current +[A-Za-z0-9+/]{43}=\n/);
  assert.deepEqual(services.calls.at(-1), ['pins', 'local:1000', 'root', 'issuing', 'server']);
  const lines = await here('ca', 'pins', '--of', 'root', '--format', 'base64');
  assert.match(lines.out, /^(?:[A-Za-z0-9+/]{43}=\n){2}$/);
  assert.deepEqual(services.calls.at(-1), ['pins', 'local:1000', 'root']);
  assert.match((await here('ca', 'pins', '--format', 'c')).out, /sallyport_server_pins\[2\]\[32\]/);
  assert.match((await here('ca', 'pins', '--format', 'arduino')).out, /PROGMEM/);
  const json = JSON.parse((await here('ca', 'pins', '--of', 'server', '--json')).out) as {
    pins: { role: string; which: string }[];
  };
  assert.deepEqual(
    json.pins.map(({ role, which }) => [role, which]),
    [
      ['server', 'current'],
      ['server', 'next'],
    ],
  );
  const count = services.calls.length;
  for (const wrong of [
    ['--of', 'leaf'],
    ['--format', 'rust'],
  ]) {
    const { code, err } = await here('ca', 'pins', ...wrong);
    assert.equal(code, 2);
    assert.match(err, /is not known; use one of: /);
  }
  assert.equal(services.calls.length, count, 'pins that are not printed have not been shown');
});

test('audit-log verify names the line that does not hold and fails', async () => {
  assert.deepEqual(await here('audit-log', 'verify'), {
    code: 0,
    out: '3 lines, all as written.\n',
    err: '',
  });
  services.verdict = { ok: false, lines: 3, line: 2, problem: 'hash does not match' };
  const { code, err } = await here('audit-log', 'verify');
  assert.equal(code, 1);
  assert.match(err, /^error: audit\.jsonl: line 2: hash does not match; /);
  const json = await here('audit-log', 'verify', '--json');
  assert.equal(json.code, 1);
  assert.deepEqual(JSON.parse(json.out), services.verdict);
});

test('audit-log show pages through the lines', async () => {
  const { out } = await here('audit-log', 'show', '--after', '1');
  assert.equal(
    out,
    `SEQ  AT                        ACTOR    ACTION         TARGET     DETAIL
2    2026-11-01T00:00:00.000Z  local:0  device.create  device/d2  {"role":"device"}
3    2026-11-01T00:00:00.000Z  local:0  device.create  device/d3  {"role":"device"}
`,
  );
});

test('reload says what changed and what waits', async () => {
  assert.equal(
    (await here('reload')).out,
    'changed: roles.backend\nnot yet in effect: listeners.mqtts.port (use reload --processes or restart)\n',
  );
  assert.equal((await here('reload', '--processes')).code, 0);
  assert.deepEqual(services.calls.at(-1), ['replaceProcesses', 'local:1000']);
});

test('a gateway may take its time to replace its processes, and not for anything else', async () => {
  const timeouts: unknown[] = [];
  const started = (message: unknown): void => {
    if (typeof message !== 'object' || message === null || !('request' in message)) return;
    if (message.request instanceof ClientRequest)
      timeouts.push(Reflect.get(message.request, 'timeout'));
  };
  subscribe('http.client.request.start', started);
  await here('reload', '--processes');
  await here('reload');
  unsubscribe('http.client.request.start', started);
  assert.deepEqual(timeouts, [600_000, 120_000]);
});

test('a gateway whose control restarts is told apart from none', async () => {
  const data = join(home, 'restarting');
  mkdirSync(join(data, 'control'), { recursive: true });
  const run = join(data, 'run.json');
  const restarting = {
    code: 1,
    out: '',
    err: 'error: control is restarting; try again in a moment\n',
  };
  const none = /^error: no gateway runs on /;
  assert.match((await sallyport('status', '--data', data)).err, none);
  writeFileSync(run, JSON.stringify({ version: 1, pid: process.pid }));
  assert.deepEqual(await sallyport('status', '--data', data), restarting, 'no socket');
  // A socket that nobody listens on any more.
  const gone =
    "require('net').createServer().listen('admin.sock', () => process.kill(process.pid, 'SIGKILL'))";
  spawnSync(process.execPath, ['-e', gone], { cwd: join(data, 'control') });
  assert.ok(existsSync(join(data, 'control', 'admin.sock')));
  assert.deepEqual(await sallyport('status', '--data', data), restarting, 'nobody at the socket');
  for (const pid of [spawnSync('true').pid, -1, 'x']) {
    writeFileSync(run, JSON.stringify({ version: 1, pid }));
    assert.match((await sallyport('status', '--data', data)).err, none, String(pid));
  }
});

function makeCsr(path: string, subject: string): void {
  execFileSync(
    'openssl',
    [
      'req',
      '-new',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      '/dev/null',
      '-subj',
      subject,
      '-out',
      path,
    ],
    { stdio: 'pipe' },
  );
}
