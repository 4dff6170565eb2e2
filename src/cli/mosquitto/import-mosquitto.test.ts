import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { parse } from 'yaml';
import { SallyportError } from '../../common/base/errors.ts';
import { runCommandLine } from '../program.ts';
import { importMosquitto } from './import-mosquitto.ts';
import type { ImportOptions } from './import-mosquitto.ts';

const home = mkdtempSync(join(tmpdir(), 'sallyport-mosquitto-'));
let folder = '';
let tests = 0;
beforeEach(() => {
  tests += 1;
  folder = join(home, String(tests));
  mkdirSync(folder);
});
after(() => rmSync(home, { recursive: true }));

const authority = execFileSync(
  'openssl',
  // prettier-ignore
  ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', '/dev/null', '-subj', '/CN=ca'],
  { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
);

/** Files by name, and the import of `mosquitto.conf`. */
function imported(files: Readonly<Record<string, string>>, options: ImportOptions = {}) {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  const result = importMosquitto(join(folder, 'mosquitto.conf'), options);
  const findings = result.findings.map(({ file, line, what, effect }) =>
    [`${file.slice(folder.length + 1)}:${line}`, what, effect].join(' '),
  );
  return { ...result, findings, said: result.findings, config: parse(result.text) as Config };
}

type Config = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

const tls = `certfile s.crt
keyfile s.key
cafile ca.crt
require_certificate true
use_identity_as_username true`;
const secure = `listener 8883\n${tls}\nacl_file acl\n`;

function refusal(files: Readonly<Record<string, string>>, options?: ImportOptions): string {
  try {
    imported(files, options);
  } catch (error) {
    assert.ok(error instanceof SallyportError);
    return `${error.code} ${error.message.replaceAll(`${folder}/`, '')}`;
  }
  throw new Error(`nothing was refused: ${JSON.stringify(files)}`);
}

test('certificates that name the users carry over with listener, authority and rules', () => {
  const { config, findings, roles } = imported({
    'mosquitto.conf': `persistence true\n${secure}max_inflight_messages 10\ntls_version tlsv1.3\n`,
    'ca.crt': authority,
    acl: 'user backend-1\ntopic read sensors/#\npattern write sensors/%u/data\n',
  });
  assert.deepEqual(config, {
    listeners: { mqtts: { host: '0.0.0.0', port: 8883 }, https: false },
    tls: { minVersion: '1.3' },
    ca: {
      trustAnchors: [
        {
          name: 'mosquitto',
          file: join(folder, 'ca.crt'),
          kind: 'device',
          role: 'device',
          from: 'cn',
          register: 'auto',
        },
      ],
    },
    roles: {
      device: { allow: { publish: ['sensors/${id}/data'] } },
      'backend-1': { allow: { publish: ['sensors/${id}/data'], subscribe: ['sensors/#'] } },
      backend: {},
    },
    limits: { receiveMaximum: 10 },
  });
  assert.deepEqual(findings, ['mosquitto.conf:3 certfile left-out']);
  assert.deepEqual(
    roles.map(({ name, users }) => [name, users]),
    [
      ['device', []],
      ['backend-1', ['backend-1']],
      ['backend', []],
    ],
  );
});

test('without an ACL file nothing is allowed, and that is said', () => {
  const { config, findings } = imported({
    'mosquitto.conf': 'listener 1883\nallow_anonymous true\n',
  });
  assert.deepEqual(config, { listeners: { https: false }, roles: { device: {}, backend: {} } });
  assert.deepEqual(findings, [
    'mosquitto.conf:1 listener 1883 left-out',
    'mosquitto.conf:1 acl_file left-out',
    'mosquitto.conf:2 allow_anonymous left-out',
  ]);
});

test('an ACL file without patterns leaves devices without rights, and that is said', () => {
  const { config, findings } = imported({
    'mosquitto.conf': secure,
    'ca.crt': authority,
    acl: 'user be\ntopic read a\n',
  });
  assert.deepEqual(config['roles'], {
    device: {},
    be: { allow: { subscribe: ['a'] } },
    backend: {},
  });
  assert.deepEqual(findings.at(-1), 'acl:1 no pattern left-out');
});

test('a prefix of topics that belongs to a listener takes the rules with it', () => {
  const { config, findings } = imported({
    'mosquitto.conf': `${secure}mount_point site/\n`,
    'ca.crt': authority,
    acl: 'pattern readwrite #\n',
  });
  assert.deepEqual(config['roles'], { device: {}, backend: {} });
  assert.ok(
    findings.includes('mosquitto.conf:1 acl_file with mount_point left-out'),
    findings.join('\n'),
  );
});

for (const statement of ['plugin', 'auth_plugin', 'global_plugin', 'plugin_load p']) {
  test(`a plugin may refuse what the ACL file allows, and takes the rules with it: ${statement}`, () => {
    for (const conf of [`${statement} /p.so\n${secure}`, `${secure}${statement} /p.so\n`]) {
      const { config, findings } = imported({
        'mosquitto.conf': conf,
        'ca.crt': authority,
        acl: 'pattern readwrite #\n',
      });
      assert.deepEqual(config['roles'], { device: {}, backend: {} });
      assert.ok(
        findings.some((finding) => finding.endsWith('acl_file with a plugin left-out')),
        findings.join('\n'),
      );
    }
  });
}

test('an authority whose certificates did not name users, or has a revocation list, is not trusted', () => {
  for (const [change, reason] of [
    ['use_identity_as_username false', 'did not say who'],
    ['require_certificate false', 'did not say who'],
    ['crlfile revoked.pem', 'revocation list'],
    ['use_identity_as_username 0\nuse_subject_as_username true', 'a subject cannot be'],
  ] as const) {
    const option = change.split(' ')[0] ?? '';
    const options = tls.split('\n').filter((line) => !line.startsWith(`${option} `));
    const { config, said } = imported({
      'mosquitto.conf': `listener 8883\n${options.join('\n')}\n${change}\nacl_file acl\n`,
      'ca.crt': authority,
      acl: 'pattern read a\n',
    });
    assert.equal(config['ca'], undefined, change);
    assert.match(said.find(({ what }) => what === 'cafile')?.reason ?? '', new RegExp(reason));
  }
  for (const pem of ['-----BEGIN EC PRIVATE KEY-----\nx\n', 'nothing', undefined]) {
    rmSync(join(folder, 'ca.crt'), { force: true });
    const { config, findings } = imported({
      'mosquitto.conf': secure,
      ...(pem === undefined ? {} : { 'ca.crt': pem }),
      acl: 'pattern read a\n',
    });
    assert.equal(config['ca'], undefined);
    assert.ok(findings.includes('mosquitto.conf:4 cafile left-out'), findings.join('\n'));
  }
});

test('of several listeners those with TLS go on, and the rest is listed', () => {
  const { config, findings } = imported({
    'mosquitto.conf': `port 1883
listener 8883 127.0.0.1
${tls}
listener 8884
${tls}
listener 9001
protocol websockets
certfile s.crt
listener 0 /run/mosquitto.sock
acl_file acl
connection elsewhere
address 192.0.2.1
topic # both
remote_password hunter2
bridge_cafile x
plugin /usr/lib/p.so
plugin_opt_secret hunter2
frobnicate hunter2
`,
    'ca.crt': authority,
    acl: 'pattern read a\n',
  });
  assert.deepEqual(config['listeners'], {
    mqtts: { host: '127.0.0.1', port: 8883 },
    https: { host: '0.0.0.0', port: 9001 },
  });
  assert.deepEqual(findings, [
    'mosquitto.conf:1 listener 1883 left-out',
    'mosquitto.conf:1 acl_file with a plugin left-out',
    'mosquitto.conf:3 certfile left-out',
    'mosquitto.conf:8 listener 8884 left-out',
    'mosquitto.conf:9 certfile left-out',
    'mosquitto.conf:14 listener 9001 without require_certificate narrower',
    'mosquitto.conf:14 listener 9001 of websockets narrower',
    'mosquitto.conf:16 certfile left-out',
    'mosquitto.conf:17 listener 0 left-out',
    'mosquitto.conf:19 connection left-out',
    'mosquitto.conf:24 plugin left-out',
    'mosquitto.conf:25 plugin_opt_secret left-out',
    'mosquitto.conf:26 frobnicate left-out',
  ]);
});

test('limits carry over in their units, and what has no bound keeps one', () => {
  const { config, findings } = imported({
    'mosquitto.conf': `max_packet_size 20000
max_keepalive 90
max_inflight_messages 0
max_inflight_messages 100000
max_topic_alias 8
message_size_limit 0
retain_available false
memory_limit 1000
max_connections 5
log_type debug
max_inflight_bytes x
`,
  });
  assert.deepEqual(config['limits'], {
    packetBytes: '20000B',
    connectBytes: '20000B',
    payloadBytes: '20000B',
    keepAlive: '90s',
    receiveMaximum: 65_535,
    topicAliases: 8,
    retainedPerIdentity: 0,
  });
  assert.deepEqual(config['logs'], { level: 'debug' });
  assert.deepEqual(findings.slice(1, -2), [
    'mosquitto.conf:1 acl_file left-out',
    'mosquitto.conf:3 max_inflight_messages narrower',
    'mosquitto.conf:4 max_inflight_messages narrower',
    'mosquitto.conf:6 message_size_limit narrower',
    'mosquitto.conf:8 memory_limit left-out',
  ]);
  const large = imported({ 'mosquitto.conf': 'message_size_limit 1000000\n' });
  assert.deepEqual(large.config['limits'], { payloadBytes: '1000000B', packetBytes: '1065536B' });
  const kept = imported({
    'mosquitto.conf':
      'persistent_client_expiration 14d\nmax_queued_messages 50\nmax_queued_bytes 4096\n',
  });
  assert.deepEqual(kept.config['limits'], {
    sessionExpiry: '336h',
    queuedMessages: 50,
    queuedBytes: '4096B',
  });
});

test('with settings of its own for each listener, the rules of one are asked for', () => {
  const files = {
    'mosquitto.conf': `per_listener_settings true
listener 8883
${tls}
acl_file a
listener 8884
${tls}
acl_file b
listener 1883
acl_file c
`,
    'ca.crt': authority,
    a: 'pattern read a\n',
    b: 'pattern read b\n',
    c: 'pattern read c\n',
  };
  assert.equal(refusal(files), 'usage the listeners 8883, 8884 have different ACL files');
  assert.equal(refusal(files, { listener: 1 }), 'usage mosquitto has no listener on port 1');
  const { config, findings } = imported(files, { listener: 8884 });
  assert.deepEqual(config['roles'], { device: { allow: { subscribe: ['b'] } }, backend: {} });
  assert.deepEqual(config['listeners'], { mqtts: { host: '0.0.0.0', port: 8884 }, https: false });
  for (const finding of [
    'mosquitto.conf:2 listener 8883 left-out',
    'mosquitto.conf:8 acl_file of listener 8883 left-out',
    'mosquitto.conf:17 acl_file of listener 1883 left-out',
  ]) {
    assert.ok(findings.includes(finding), `${finding}\n${findings.join('\n')}`);
  }
});

test('included files are read in the order of mosquitto, and include nothing themselves', () => {
  const { said } = imported({
    'mosquitto.conf': 'include_dir conf.d\nsys_interval 1\n',
    'conf.d/b.conf': 'pid_file b\n',
    'conf.d/B.conf': 'pid_file B\ninclude_dir nowhere\n',
    'conf.d/a.conf': 'pid_file a\n',
    'conf.d/10.conf': 'pid_file 10\n',
    'conf.d/A.conf': 'pid_file A\n',
    'conf.d/ignored.conf~': 'pid_file x\n',
    'conf.d/.conf': 'pid_file x\n',
  });
  assert.deepEqual(
    said.filter(({ what }) => what === 'pid_file').map(({ file }) => file.slice(folder.length + 1)),
    ['10', 'A', 'a', 'B', 'b'].map((name) => `conf.d/${name}.conf`),
  );
});

test('what mosquitto refuses, or could be meant in two ways, is an error with its place', () => {
  const conf = (text: string): Record<string, string> => ({ 'mosquitto.conf': text });
  const acl = (text: string): Record<string, string> => ({
    'mosquitto.conf': secure,
    'ca.crt': authority,
    acl: text,
  });
  for (const [files, expected] of [
    [acl('topic\n'), 'invalid-config acl:1: the topic is missing'],
    [
      acl('user a\ntopic a b\n'),
      'invalid-config acl:2: "a" is none of read, write, readwrite, deny',
    ],
    [acl('topic READ a\n'), 'invalid-config acl:1: "READ" is none of read, write, readwrite, deny'],
    [acl('topic read a/#/b\n'), 'invalid-config acl:1: "#" must be the whole last level'],
    [acl('topic read a+\n'), 'invalid-config acl:1: "+" must be a whole level'],
    [acl('user\n'), 'invalid-config acl:1: "user" names nobody'],
    [acl('user  \t\n'), 'invalid-config acl:1: "user" names nobody'],
    [acl(' # comment\n'), 'invalid-config acl:1: "#" is no line of an ACL file'],
    [acl('\ttopic read a\n'), 'invalid-config acl:1: "\\u{9}topic" is no line of an ACL file'],
    [acl('topic\tread a\n'), 'invalid-config acl:1: "topic\\u{9}read" is no line of an ACL file'],
    [acl('topic read a\0b\n'), 'invalid-config acl:1: a topic filter contains U+0000'],
    [
      acl('pattern read a\n'.repeat(501)),
      'invalid-config acl:501: there are more than 500 patterns',
    ],
    [conf('acl_file nowhere\n'), /^io cannot read nowhere: /],
    [conf('include_dir nowhere\n'), /^io cannot read nowhere: /],
    [conf('include_dir\n'), 'invalid-config mosquitto.conf:1: include_dir names no folder'],
    [conf('acl_file a\nacl_file b\n'), 'invalid-config mosquitto.conf:2: acl_file is there twice'],
    [
      conf('acl_file a\nper_listener_settings true\n'),
      /^invalid-config mosquitto.conf:2: per_listener/,
    ],
    [conf('listener x\n'), 'invalid-config mosquitto.conf:1: "x" is no port'],
    [conf('listener 70000\n'), 'invalid-config mosquitto.conf:1: "70000" is no port'],
    [conf('allow_anonymous yes\n'), /^invalid-config mosquitto.conf:1: allow_anonymous is neither/],
    [conf('listener 1\ncafile\n'), 'invalid-config mosquitto.conf:2: cafile has no value'],
    [
      conf('listener 1\ncafile a\ncafile b\n'),
      /^invalid-config mosquitto.conf:3: cafile is there twice/,
    ],
    [
      {
        ...conf('per_listener_settings true\nlistener 1\ninclude_dir d\n'),
        'd/a.conf': 'acl_file x\n',
      },
      'invalid-config d/a.conf:1: it cannot be told to which listener acl_file belongs',
    ],
  ] as const) {
    const told = refusal(files);
    if (typeof expected === 'string') assert.equal(told, expected);
    else assert.match(told, expected);
  }
});

test('files that include each other, are no files or no text end the import', () => {
  mkdirSync(join(folder, 'conf.d'));
  symlinkSync('../mosquitto.conf', join(folder, 'conf.d', 'again.conf'));
  assert.match(refusal({ 'mosquitto.conf': 'include_dir conf.d\n' }), /is included a second time$/);
  rmSync(join(folder, 'conf.d'), { recursive: true });
  for (let i = 0; i < 300; i += 1) imported({ [`conf.d/${i}.conf`]: '', 'mosquitto.conf': '' });
  assert.match(refusal({ 'mosquitto.conf': 'include_dir conf.d\n' }), /more than 256 files$/);
  writeFileSync(join(folder, 'latin'), Buffer.from('topic read \xe9\n', 'latin1'));
  assert.match(refusal({ 'mosquitto.conf': 'acl_file latin\n' }), /^io cannot read latin: /);
  execFileSync('mkfifo', [join(folder, 'pipe')]);
  assert.match(refusal({ 'mosquitto.conf': 'acl_file pipe\n' }), /^io cannot read pipe: .*regular/);
  writeFileSync(join(folder, 'large'), '#'.repeat(9 * 1024 * 1024));
  assert.match(
    refusal({ 'mosquitto.conf': 'acl_file large\n' }),
    /^io cannot read large: .*larger/,
  );
});

async function sallyport(...args: readonly string[]) {
  let out = '';
  let err = '';
  const terminal = {
    out: (text: string) => void (out += text),
    err: (text: string) => void (err += text),
    uid: undefined,
  };
  const line = ['policy', ...args, '--data', join(home, 'none')];
  return { code: await runCommandLine(line, terminal, '0.1.0'), out, err };
}

test('the command writes what policy check accepts and policy test decides by', async () => {
  imported(
    {
      'etc/ca.crt': authority,
      'etc/acl': 'user be\ntopic read s/#\npattern write s/%u/data\npattern read %u/#\n',
      'mosquitto.conf': secure.replace('ca.crt', '/etc/ca.crt').replace('acl\n', '/etc/acl\n'),
      acl: '',
    },
    { root: folder },
  );
  const conf = join(folder, 'mosquitto.conf');
  const out = join(folder, 'sallyport.yaml');
  const missing = await sallyport('import-mosquitto', conf);
  assert.match(missing.err, /^error: cannot read \/etc\/acl: .*--root DIR.*\n$/);

  const root = ['--root', folder];
  const printed = await sallyport('import-mosquitto', conf, ...root);
  assert.deepEqual([printed.code, printed.err], [0, '']);
  const wrote = await sallyport('import-mosquitto', conf, ...root, '--out', out);
  assert.deepEqual([wrote.code, wrote.err], [0, '']);
  assert.match(
    wrote.out,
    /mosquitto\.conf:2: certfile: left out: .*\nWrote .*; 1 thing was not carried over/,
  );
  assert.equal(readFileSync(out, 'utf8'), printed.out);
  assert.match(printed.out, /^# role be: be$/m);

  assert.equal((await sallyport('check', out)).code, 0);
  const asked = async (...args: readonly string[]): Promise<string> => {
    const answer = await sallyport('test', ...args, '--config', out);
    return answer.out.split('\n')[0] ?? '';
  };
  assert.match(await asked('publish', 's/d1/data', '--as', 'device/d1'), /allow$/);
  assert.match(await asked('publish', 's/d2/data', '--as', 'device/d1'), /deny/);
  assert.match(await asked('subscribe', 'd1/x', '--as', 'device/d1'), /allow$/);
  assert.match(
    await asked('subscribe', 's/+/data', '--as', 'service/be', '--role', 'be'),
    /allow$/,
  );

  writeFileSync(out, 'precious');
  const again = await sallyport('import-mosquitto', conf, ...root, '--out', out);
  assert.equal(again.code, 1);
  assert.match(again.err, /sallyport\.yaml is there already/);
  assert.equal(readFileSync(out, 'utf8'), 'precious');
  const forced = await sallyport(
    'import-mosquitto',
    conf,
    ...root,
    '--out',
    out,
    '--force',
    '--json',
  );
  assert.equal(forced.code, 0);
  const json = JSON.parse(forced.out) as {
    file: string;
    findings: unknown[];
    roles: { name: string }[];
  };
  assert.deepEqual([json.file, json.findings.length], [out, 1]);
  assert.deepEqual(
    json.roles.map(({ name }) => name),
    ['device', 'be', 'backend'],
  );
  assert.equal(readFileSync(out, 'utf8'), printed.out);
});

test('neither secrets nor control characters of the files reach the answer', async () => {
  imported({
    'mosquitto.conf':
      'acl_file acl\nconnection c\nremote_password hunter2\nauth_opt_pw hunter2\nhunter\u001b[2J x\n',
    acl: 'user a\u001b[2J\ntopic read b\u001b[2J/#\n',
  });
  const { code, out } = await sallyport('import-mosquitto', join(folder, 'mosquitto.conf'));
  assert.equal(code, 0);
  assert.ok(!out.includes('hunter2') && !out.includes('\u001b'), out);
  assert.ok(!existsSync('sallyport.yaml'));
});
