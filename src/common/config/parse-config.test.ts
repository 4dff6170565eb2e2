import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from '../base/errors.ts';
import { parseConfig } from './parse-config.ts';
import { policyDocumentOf } from './policy-of.ts';

function parse(text: string, files: Record<string, string> = {}) {
  return parseConfig({ configPath: '/etc/sallyport/sallyport.yaml', configText: text, files });
}

/** The lines of the error, without the path of the file. */
function problems(text: string, files: Record<string, string> = {}): string[] {
  try {
    parse(text, files);
  } catch (thrown) {
    assert.ok(thrown instanceof SallyportError);
    assert.equal(thrown.code, 'invalid-config');
    return thrown.message
      .split('\n')
      .map((line) => line.replace('/etc/sallyport/sallyport.yaml:', ''));
  }
  return [];
}

const defaults = parseConfig({ configPath: undefined, configText: '', files: {} });

test('pages of the server names and of the configured origins may open MQTT over WebSocket', () => {
  const text = [
    'serverNames: [ Gateway.Example, 127.0.0.1 ]',
    'listeners: { https: { origins: [ "https://console.example:8080", "https://[::1]" ] } }',
    '',
  ].join('\n');
  assert.deepEqual(policyDocumentOf(parse(text)).pages, {
    hosts: ['gateway.example', '127.0.0.1'],
    origins: ['https://console.example:8080', 'https://[::1]'],
  });
  const off = 'listeners: { https: false }\n';
  assert.deepEqual(policyDocumentOf(parse(off)).pages.origins, []);
});

test('the defaults are what the documentation promises', () => {
  const { mqtts, https, est, status } = defaults.listeners;
  assert.deepEqual({ ...mqtts }, { host: '0.0.0.0', port: 8883, proxy: [] });
  assert.deepEqual({ ...https }, { host: '0.0.0.0', port: 8443, proxy: [], origins: [] });
  assert.deepEqual({ ...est }, { host: '0.0.0.0', port: 8447, proxy: [] });
  assert.deepEqual({ ...status }, { host: '0.0.0.0', port: 8080, proxy: [] });
  assert.deepEqual({ ...defaults.listeners.admin }, { host: '127.0.0.1', port: 9443 });
  assert.equal(defaults.durability, 'flushed');
  assert.equal(defaults.workers, 'auto');
  const document = policyDocumentOf(defaults);
  assert.deepEqual(document.clones, { rule: 'alert', windowMs: 600_000 });
  assert.deepEqual(document.routes[0], {
    name: 'telemetry',
    match: 'devices/+/telemetry',
    rate: [{ limit: 5, perMs: 1_000, burst: 10 }],
    schema: undefined,
    payloadBytes: undefined,
    breaker: undefined,
    authenticate: ['certificate'],
    integrity: undefined,
  });
  assert.deepEqual([defaults.backends, defaults.proxied, defaults.upstreams], [[], [], []]);
  const { httpsSigned, mqttsSigned } = defaults.listeners;
  assert.deepEqual([httpsSigned, mqttsSigned, defaults.tokens.endpoint], [false, false, false]);
  const { limits } = document;
  assert.deepEqual(
    [limits.headerBytes, limits.headers, limits.headersMs, limits.requestMs, limits.idleMs],
    [8_192, 64, 10_000, 30_000, 75_000],
  );
  assert.deepEqual(
    [limits.connectionsPerIdentity, limits.streamMs, limits.commandTtlMs],
    [8, 3_600_000, 7 * 86_400_000],
  );
  assert.deepEqual([limits.commandsPerDevice, limits.commandBytesPerDevice], [100, 262_144]);
  assert.deepEqual(Object.keys(document.roles), ['device', 'backend']);
  assert.deepEqual(document.roles['device']?.allow.subscribe, ['devices/${id}/commands/#']);
});

test('configuration and policy are frozen all the way down', () => {
  const frozen = (value: unknown, at: string): void => {
    if (typeof value !== 'object' || value === null) return;
    assert.ok(Object.isFrozen(value), at);
    for (const [key, child] of Object.entries(value)) frozen(child, `${at}.${key}`);
  };
  frozen(defaults, 'config');
  frozen(policyDocumentOf(defaults), 'policy');
});

const bad: readonly (readonly [string, string, RegExp])[] = [
  ['an empty file', '', /^ is empty|is empty/u],
  ['a file of comments', '# workers: 2\n---\n# nothing\n', /is empty/u],
  ['a list', '- a\n', /not a mapping/u],
  ['a text', 'allow all\n', /not a mapping/u],
  ['text that is not YAML', 'a: [1\n', /^\d+: is not YAML/u],
  ['two documents', 'workers: 1\n---\nworkers: 2\n', /is not YAML/u],
  ['a duplicate key', 'workers: 1\nworkers: 2\n', /^2: is not YAML: Map keys must be unique/u],
  ['a tag', 'workers: !!int 3\n', /tag/u],
  ['an unknown tag', 'workers: !env WORKERS\n', /tag/u],
  ['a directive', '%YAML 1.1\n---\nworkers: 1\n', /%YAML/u],
  ['nesting of 100,000', `roles: ${'['.repeat(100_000)}`, /is not YAML/u],
  [
    'an alias bomb',
    `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefgh'
      .split('')
      .map((c, i) => `${c}: &${c} [${`*${'abcdefgh'[i]},`.repeat(9)}]`)
      .join('\n')}\n`,
    /is not YAML: Excessive alias count/u,
  ],
  [
    'an unknown key',
    'listner: {}\n',
    /^1: listner is not a known key; did you mean "listeners"\?$/u,
  ],
  ['an unknown key inside', 'logs:\n  levl: info\n', /^2: logs\.levl .*"level"/u],
  ['a key named __proto__', '__proto__: {}\n', /^1: __proto__ is not a known key/u],
  ['a role named __proto__', 'roles: { __proto__: {} }\n', /is not a name/u],
  ['a key without a value', 'roles:\n', /^1: roles is empty/u],
  [
    'a listener that does not exist yet with more than an address',
    'listeners: { coaps: { port: 5684, dtls: false } }\n',
    /listeners\.coaps is not available/u,
  ],
  ['a listener set to true', 'listeners: { mqtts: true }\n', /listeners\.mqtts is true/u],
  [
    'where requests go in a route of messages',
    'routes: { a: { match: a, upstream: http://x } }\n',
    /routes\.a\.upstream is for routes of requests/u,
  ],
  ['a later section', 'firmware: { keys: [] }\n', /firmware is not available/u],
  ['a route without match', 'routes: { a: {} }\n', /routes\.a lacks the key "match"/u],
  ['a wrong filter', 'routes: { a: { match: "a/#/b" } }\n', /routes\.a\.match is not allowed/u],
  [
    'a template in a route',
    'routes: { a: { match: "a/${id}" } }\n',
    /routes\.a\.match is not allowed/u,
  ],
  [
    'an unknown template',
    'roles: { r: { allow: { publish: ["a/${name}"] } } }\n',
    /only template/u,
  ],
  ['a glued template', 'roles: { r: { allow: { publish: ["a/x${id}"] } } }\n', /only template/u],
  [
    'a $ filter in a role',
    'roles: { r: { allow: { subscribe: ["$SYS/#"] } } }\n',
    /the gateway's own/u,
  ],
  ['a rate without unit', 'routes: { a: { match: a, rate: { limit: "5" } } }\n', /is not a rate/u],
  ['a rate of zero', 'routes: { a: { match: a, rate: { limit: 0/s } } }\n', /is not a rate/u],
  ['a duration without unit', 'limits: { drain: "10" }\n', /limits\.drain is not a duration/u],
  [
    'a duration longer than a timer',
    'limits: { drain: 30d }\n',
    /limits\.drain is not a duration/u,
  ],
  ['a size of zero', 'limits: { packetBytes: 0B }\n', /limits\.packetBytes is not a size/u],
  [
    'payloads larger than packets',
    'limits: { payloadBytes: 1MiB }\n',
    /limits\.payloadBytes is more than/u,
  ],
  ['a header of a few bytes', 'limits: { headerBytes: 100B }\n', /headerBytes is not from 1KiB/u],
  ['a header of megabytes', 'limits: { headerBytes: 2MiB }\n', /headerBytes is not from 1KiB/u],
  [
    'requests shorter than their headers',
    'limits: { request: 5s }\n',
    /limits\.request is less than limits\.requestHeaders/u,
  ],
  [
    'route payloads larger than packets',
    'routes: { a: { match: a, payloadBytes: 1MiB } }\n',
    /routes\.a\.payloadBytes is more/u,
  ],
  ['65 workers', 'workers: 65\n', /workers must be <= 64/u],
  ['no workers', 'workers: 0\n', /workers must be >= 1/u],
  [
    'a secret in the open',
    'metrics: { token: hunter2 }\n',
    /metrics\.token is not a mapping; secrets are never/u,
  ],
  ['a secret in two places', 'metrics: { token: { file: a, credential: b } }\n', /exactly one of/u],
  ['a secret nowhere', 'ca: { masterKey: {} }\n', /exactly one of/u],
  [
    'a URL with user info',
    'ca: { masterKey: { file: "https://u:hunter2@h/k" } }\n',
    /user name or password/u,
  ],
  ['an upper-case trust domain', 'trustDomain: Fleet\n', /trustDomain is not a SPIFFE/u],
  ['no server names', 'serverNames: []\n', /serverNames must NOT have fewer/u],
  ['a wrong host', 'listeners: { mqtts: { host: "a b" } }\n', /host is not a host/u],
  ...['http://a.example', 'https://A.example', 'https://a.example/', 'a.example', '*', 'null'].map(
    (origin): readonly [string, string, RegExp] => [
      `the origin ${origin}`,
      `listeners: { https: { origins: [ "${origin}" ] } }\n`,
      /is not an origin/u,
    ],
  ),
  ['a load balancer by name', 'listeners: { mqtts: { proxy: [ lb ] } }\n', /is not a network/u],
  [
    'everybody as load balancer',
    'listeners: { https: { proxy: [ 0.0.0.0/0 ] } }\n',
    /not a network/u,
  ],
  ['too long a prefix', 'listeners: { mqtts: { proxy: [ 10.0.0.0/33 ] } }\n', /not a network/u],
  ['no prefix', 'listeners: { mqtts: { proxy: [ "2001:db8::" ] } }\n', /is not a network/u],
  ['load balancers before operators', 'listeners: { admin: { proxy: [] } }\n', /not a known key/u],
  ['an unknown rule for clones', 'anomaly: { clones: { rule: ignore } }\n', /not one of alert/u],
  ['a wrong port', 'listeners: { mqtts: { port: 65536 } }\n', /port must be <=/u],
  ['TLS 1.1', 'tls: { minVersion: "1.1" }\n', /not one of 1\.2, 1\.3/u],
  [
    'a file that was not read',
    'routes: { a: { match: a, schema: a.json } }\n',
    /routes\.a\.schema names "a\.json", which was not read/u,
  ],
];

for (const [name, text, message] of bad) {
  test(`refuses ${name}`, () => {
    const found = problems(text);
    assert.ok(found.length > 0, 'it was accepted');
    assert.ok(
      found.some((line) => message.test(line.trim())),
      found.join('\n'),
    );
    assert.ok(!found.join('\n').includes('hunter2'), 'the message repeats a secret');
  });
}

test('what is not available is said once, whatever its form', () => {
  assert.equal(problems('store: sqlite\n').length, 1);
});

test('all problems are told at once, in the order of the file', () => {
  const found = problems(
    'workers: 0\nlogs:\n  level: loud\nlimits:\n  sessions: -1\n  drian: 1s\n',
  );
  assert.deepEqual(
    found.map((line) => line.split(' ')[0]),
    ['1:', '3:', '5:', '6:'],
  );
});

test('telemetry keeps the defaults of what is not said of it', () => {
  const { routes } = parse(
    'routes: { telemetry: { payloadBytes: 4KiB }, extra: { match: "x/#" } }\n',
  );
  assert.deepEqual(
    routes.map(({ name, match, rate, payloadBytes }) => ({ name, match, rate, payloadBytes })),
    [
      {
        name: 'telemetry',
        match: 'devices/+/telemetry',
        rate: [{ limit: 5, perMs: 1_000, burst: 10 }],
        payloadBytes: 4_096,
      },
      { name: 'extra', match: 'x/#', rate: [], payloadBytes: undefined },
    ],
  );
  assert.equal(parse('routes: { extra: { match: x } }\n').routes[0]?.name, 'telemetry');
  assert.deepEqual(parse('routes: { telemetry: { rate: [] } }\n').routes[0]?.rate, []);
});

test('a rate is one window or a list, in any unit', () => {
  const { routes } = parse(
    'routes: { a: { match: a, rate: [ { limit: 5/s, burst: 1 }, { limit: 100/m }, { limit: 7/h }, { limit: 9/day } ] } }\n',
  );
  assert.deepEqual(routes[1]?.rate, [
    { limit: 5, perMs: 1_000, burst: 1 },
    { limit: 100, perMs: 60_000, burst: 0 },
    { limit: 7, perMs: 3_600_000, burst: 0 },
    { limit: 9, perMs: 86_400_000, burst: 0 },
  ]);
});

test('a configured role replaces the built-in one of its name and leaves the other', () => {
  const { roles } = parse('roles: { device: { allow: { publish: [ "d/${id}" ] } } }\n');
  assert.deepEqual(Object.keys(roles), ['device', 'backend']);
  assert.deepEqual(roles['device']?.allow.publish, ['d/${id}']);
  assert.deepEqual(roles['device'].allow.subscribe, []);
  assert.deepEqual(roles['device'].deny.publish, []);
});

test('secrets are named with absolute paths and never read', () => {
  const config = parse(
    'ca: { masterKey: { file: keys/master } }\nmetrics: { token: { credential: scrape } }\n',
  );
  assert.deepEqual(config.ca.masterKey, { file: '/etc/sallyport/keys/master' });
  assert.deepEqual(config.metrics.token, { credential: 'scrape' });
  assert.deepEqual(parse('ca: { masterKey: { environment: KEY_FILE } }\n').ca.masterKey, {
    environment: 'KEY_FILE',
  });
});

test('a schema comes from the bundle and is refused with its file and line', () => {
  const text = 'routes:\n  telemetry:\n    schema: t.json\n';
  const schema = { type: 'object', required: ['a'] };
  assert.deepEqual(parse(text, { 't.json': JSON.stringify(schema) }).routes[0]?.schema, schema);
  for (const [content, message] of [
    ['{', /^3: routes\.telemetry\.schema names "t\.json", which has/u],
    [
      '{"type":"nothing"}',
      /^3: routes\.telemetry\.schema names a schema that is refused: t\.json/u,
    ],
    ['{"type":"string","pattern":"^(a+)+$","maxLength":9}', /repeats a group/u],
    ['{"a":1,"a":2}', /same key twice/u],
  ] as const) {
    assert.match(problems(text, { 't.json': content }).join('\n'), message);
  }
});

const pem = '-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n';

test('trust anchors carry their certificates and their rule', () => {
  const text =
    'ca: { trustAnchors: [ { name: factory, file: ca.pem, from: san-uri, prefix: f-, register: auto } ] }\n';
  const [anchor] = parse(text, { 'ca.pem': pem }).ca.trustAnchors;
  assert.deepEqual(
    { ...anchor },
    {
      name: 'factory',
      file: 'ca.pem',
      pem,
      kind: 'device',
      role: 'device',
      from: 'san-uri',
      prefix: 'f-',
      register: 'auto',
      crl: undefined,
    },
  );
});

test('the lists of a trust anchor have their places, their bounds, and fail closed', () => {
  const text =
    "ca: { trustAnchors: [ { name: factory, file: ca.pem, crl: { from: [ 'http://CA.example:80/a.crl', lists/b.crl ] } } ] }\n";
  const [anchor] = parse(text, { 'ca.pem': pem }).ca.trustAnchors;
  assert.deepEqual(anchor?.crl, {
    from: [{ url: 'http://ca.example/a.crl' }, { file: '/etc/sallyport/lists/b.crl' }],
    whenStale: 'fail-closed',
    everyMs: 3_600_000,
    timeoutMs: 30_000,
    maxBytes: 16_777_216,
    keepDays: 1_095,
  });
});

test('ticket keys change every eight hours, or as is written, but not while a ticket is good', () => {
  assert.equal(parse('{}\n').tls.ticketRotationMs, 28_800_000);
  assert.equal(parse('tls: { ticketRotation: 2d }\n').tls.ticketRotationMs, 172_800_000);
  assert.match(problems('tls: { ticketRotation: 59m }\n').join('\n'), /less than 1h/u);
});

test('trust anchors that would mix identities up or leak a key are refused', () => {
  const anchors = (list: string): string => `ca: { trustAnchors: [ ${list} ] }\n`;
  const files = {
    'ca.pem': pem,
    'key.pem': `${pem}-----BEGIN EC PRIVATE KEY-----\n`,
    'x.txt': 'hello',
  };
  for (const [list, message] of [
    ['{ name: internal, file: ca.pem }', /"internal" is already taken/u],
    ['{ name: a, file: ca.pem }, { name: a, file: ca.pem }', /"a" is already taken/u],
    ['{ name: a, file: ca.pem, role: none }', /is not a role/u],
    ['{ name: a, file: ca.pem, role: constructor }', /is not a role/u],
    ['{ name: a, file: ca.pem, prefix: "a/" }', /cannot begin an id/u],
    ['{ name: a, file: key.pem }', /private key/u],
    ['{ name: a, file: x.txt }', /without a PEM certificate/u],
    ['{ name: a }', /lacks the key "file"/u],
    ['{ name: a, file: ca.pem, crl: {} }', /lacks the key "from"/u],
    ['{ name: a, file: ca.pem, crl: { from: [] } }', /from/u],
    ['{ name: a, file: ca.pem, crl: { from: [ x.crl, x.crl ] } }', /the same list twice/u],
    ["{ name: a, file: ca.pem, crl: { from: [ 'ldap://ca/x' ] } }", /not a URL such as/u],
    ["{ name: a, file: ca.pem, crl: { from: [ 'http://u:p@ca/x' ] } }", /user name or password/u],
    ['{ name: a, file: ca.pem, crl: { from: [ x.crl ], whenStale: ignore } }', /whenStale/u],
  ] as const) {
    assert.match(problems(anchors(list), files).join('\n'), message);
  }
});

test('a listener of a later version may be configured, is named, and nothing listens', () => {
  const config = parseConfig({
    configPath: '/etc/sallyport.yaml',
    configText: 'listeners: { amqps: { host: 127.0.0.1, port: 0 }, coaps: false, https: false }\n',
    files: {},
  });
  assert.deepEqual(config.listenersNotYet, ['amqps']);
  assert.deepEqual(Object.keys(config.listeners), [
    'mqtts',
    'https',
    'est',
    'status',
    'httpsSigned',
    'mqttsSigned',
    'admin',
  ]);
  assert.equal(config.listeners.https, false);
});
