/** Requests on proxied routes: which route they belong to, and every row of the column. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { canonicalPath } from '../../common/base/canonical-path.ts';
import { standings } from '../../common/base/principal.ts';
import type { AuthenticationMethod, IntegrityDocument } from '../../common/config/proxied-route.ts';
import { Breakers } from './breakers.ts';
import { compilePolicy } from './compile.ts';
import { Place } from './concurrency.ts';
import type { Decision } from './decision.ts';
import type { ProxiedFacts } from './entry.ts';
import { explainRequest } from './explain.ts';
import type { IntegrityVerdict, Signed } from './integrity.ts';
import type { Policy } from './policy.ts';
import type { Subject } from './ports.ts';
import { HandClock, LocalRates, documentOf, messageOfText, subjectOf } from './test-support.ts';

const schema = {
  's.json': '{"type":"object","required":["t"],"properties":{"t":{"type":"number"}}}',
};

function policyOf(text: string, breakers?: Breakers): Policy {
  const document = documentOf(text, schema);
  return compilePolicy(document, 1, breakers === undefined ? {} : { breakers });
}

const upstream = 'upstream: http://127.0.0.1:9000';
const one = (more = ''): string =>
  `routes: { b: { path: /b/, ${upstream}${more === '' ? '' : `, ${more}`} } }\n`;

function facts(more: Partial<ProxiedFacts> = {}): ProxiedFacts {
  return {
    authentication: { ok: true, by: 'certificate' },
    method: 'GET',
    path: '/b/x',
    bodyBytes: 0,
    payload: undefined,
    contentType: undefined,
    signed: undefined,
    place: new Place(),
    ...more,
  };
}

function withBody(text: string, more: Partial<ProxiedFacts> = {}): ProxiedFacts {
  const payload = Buffer.from(text);
  const bodyBytes = payload.length;
  return facts({ method: 'POST', contentType: 'application/json', payload, bodyBytes, ...more });
}

function codeOf(decision: Decision | Promise<Decision>): string {
  assert.ok(!(decision instanceof Promise), 'decided later');
  return decision.allowed ? 'allow' : decision.code;
}

const d1 = subjectOf('device', 'd1', 'device');

function ask(policy: Policy, asked: ProxiedFacts, subject: Subject = d1): string {
  const route = policy.proxied(asked.method, asked.path, subject.id);
  assert.ok(route !== undefined, `${asked.method} ${asked.path} belongs nowhere`);
  try {
    return codeOf(policy.bind('proxied', subject, route).decide(asked));
  } finally {
    asked.place.leave();
  }
}

test('a route is found by the most specific pattern, and only for its methods', () => {
  const paths: Readonly<Record<string, string>> = {
    root: '/',
    a: '/a',
    sub: '/a/',
    star: '/a/*',
    own: '/a/${id}',
    lit: '/a/b',
    deep: '/a/*/c',
    below: '/a/b/',
  };
  const routes = Object.entries(paths).map(
    ([name, path]) => `${name}: { path: '${path}', ${upstream} }`,
  );
  const policy = policyOf(
    `routes: { ${routes.join(', ')}, get: { path: /g, methods: [ GET ], ${upstream} } }\n`,
  );
  const found = (path: string, id?: string): string | undefined =>
    policy.proxied('GET', path, id)?.name;
  for (const [path, name] of [
    ['/', 'root'],
    ['/x', 'root'],
    ['/a', 'a'],
    ['/a/', 'sub'],
    ['/a/x', 'star'],
    ['/a/d1', 'own'],
    ['/a/b', 'lit'],
    ['/a/b/c', 'below'],
    ['/a/x/c', 'deep'],
    ['/a/d1/c', 'deep'],
    ['/a/x/d', 'sub'],
    ['/a/b/d', 'below'],
  ] as const) {
    assert.equal(found(path, 'd1'), name, path);
  }
  assert.equal(found('/a/d1'), 'star', 'nobody has no id');
  assert.equal(policy.proxied('POST', '/g', 'd1'), undefined);
  assert.deepEqual(policy.proxiedMethods('/g', 'd1'), ['GET']);
  const none = policyOf(one());
  assert.equal(none.proxied('GET', '/c', 'd1'), undefined);
  assert.deepEqual(none.proxiedMethods('/c', 'd1'), []);
});

test('what is the own of the gateway belongs to no route, and neither does what may be read as another one', () => {
  const policy = policyOf(
    `routes: { all: { path: /, ${upstream} }, admin: { path: /x/admin/, roles: [ backend ], ${upstream} } }\n`,
  );
  const found = (path: string): string | undefined => policy.proxied('GET', path, 'd1')?.name;
  assert.equal(found('/api/v2'), 'all');
  for (const path of [
    '/api/v1',
    '/api/v1/telemetry',
    '/mqtt',
    '/oauth2/token',
    '/.well-known/jwks.json',
    '/mqtt;x',
    '/oauth2%3Bx/token',
    '/api;x/v1/y',
  ])
    assert.equal(found(path), undefined, path);
  assert.equal(found('/x/admin/y'), 'admin');
  // A server that drops parameters reads these as a path of the other route.
  for (const path of ['/x/admin;a=b/y', '/x;y/admin/z', '/x/admin%3Bq/y', '/x/admin%3Ba;b/y'])
    assert.equal(found(path), undefined, path);
  assert.equal(found('/x/y;a=b'), 'all');
  // Nor is a slash a way past a route: to many a server it says nothing.
  assert.equal(found('/x/admin'), undefined);
  assert.equal(found('/x/admin/'), 'admin');
  assert.equal(found('/x/admi'), 'all');
  const exact = policyOf(
    `routes: { all: { path: /x/, ${upstream} }, one: { path: /x/admin, roles: [ backend ], ${upstream} }, any: { path: '/x/*/in', ${upstream} } }\n`,
  );
  const place = (path: string): string | undefined => exact.proxied('GET', path, 'd1')?.name;
  assert.deepEqual(
    ['/x/admin', '/x/admin/', '/x/admin/y', '/x/', '/x/q/in', '/x/q/in/'].map(place),
    ['one', undefined, 'all', 'all', 'any', undefined],
  );
});

test('a role is let in by the route or by its own rules, and kept out by its denials', () => {
  const policy = policyOf(`
roles:
  reader: { allow: { request: [ 'GET /b/', 'POST /b/\${id}/in' ] } }
  barred: { deny: { request: [ '* /b/secret', 'GET /b/hidden/' ] } }
routes: { b: { path: /b/, roles: [ device, barred ], ${upstream} } }
`);
  const as = (role: string, method: string, path: string): string =>
    ask(policy, facts({ method, path }), subjectOf('device', 'd1', role));
  assert.equal(as('device', 'DELETE', '/b/x'), 'allow');
  assert.equal(as('reader', 'GET', '/b/x'), 'allow');
  assert.equal(as('reader', 'HEAD', '/b/x'), 'allow', 'what holds for GET holds for HEAD');
  assert.equal(as('reader', 'POST', '/b/x'), 'forbidden');
  assert.equal(as('reader', 'POST', '/b/d1/in'), 'allow');
  assert.equal(as('reader', 'POST', '/b/d2/in'), 'forbidden');
  assert.equal(as('reader', 'POST', '/b/d1;x/in'), 'forbidden', 'not in every reading');
  assert.equal(as('barred', 'GET', '/b/x'), 'allow');
  assert.equal(as('barred', 'POST', '/b/secret'), 'forbidden');
  for (const path of ['/b/secret;x', '/b/secret%3Bx', '/b/secret%3Ba;b'])
    assert.equal(as('barred', 'GET', path), 'forbidden', path);
  assert.equal(as('barred', 'POST', '/b/secret/'), 'forbidden', 'the same to many a server');
  assert.equal(as('barred', 'GET', '/b/hidden'), 'forbidden', 'the same to many a server');
  assert.equal(as('barred', 'HEAD', '/b/hidden/x'), 'forbidden');
  assert.equal(as('barred', 'POST', '/b/hidden/x'), 'allow');
  assert.equal(as('nobody', 'GET', '/b/x'), 'forbidden');
  assert.equal(as('backend', 'GET', '/b/x'), 'forbidden');
});

test('a role that changes, and a standing, act on what is bound', () => {
  const policy = policyOf(one());
  const subject = subjectOf('device', 'd1', 'device');
  const route = policy.proxied('GET', '/b/x', 'd1');
  assert.ok(route !== undefined);
  const bound = policy.bind('proxied', subject, route);
  assert.equal(codeOf(bound.decide(facts())), 'allow');
  subject.identity.role = 'backend';
  assert.equal(codeOf(bound.decide(facts())), 'forbidden');
  subject.identity.role = 'device';
  assert.equal(codeOf(bound.decide(facts({ method: 'OPTIONS' }))), 'forbidden', 'not of the route');
  for (const standing of standings) {
    subject.identity.standing = standing;
    assert.equal(codeOf(bound.decide(facts())), standing === 'active' ? 'allow' : 'standing');
  }
});

test('a proof is taken where the route says so, and nothing is charged without one', () => {
  const rates = new LocalRates(new HandClock());
  const subject = subjectOf('device', 'd1', 'device', rates);
  const policy = policyOf(
    `tokens: { endpoint: {} }\n${one('integrity: { required: false }, authenticate: [ signature, token ]')}`,
  );
  const by = (method: AuthenticationMethod): string =>
    ask(policy, facts({ authentication: { ok: true, by: method } }), subject);
  assert.equal(by('token'), 'allow');
  const charged = rates.seen.length;
  assert.equal(by('certificate'), 'unauthenticated');
  assert.equal(by('device-jwt'), 'unauthenticated');
  // Something that this version does not know is not a good proof.
  assert.equal(by('password' as AuthenticationMethod), 'unauthenticated');
  const failed = facts({ authentication: { ok: false, detail: 'x' } });
  assert.equal(ask(policy, failed, subject), 'unauthenticated');
  const route = policy.proxied('GET', '/b/x', undefined);
  assert.ok(route !== undefined);
  const nobody = policy.bind('proxied', undefined, route);
  assert.equal(
    codeOf(nobody.decide(facts({ authentication: { ok: true, by: 'token' } }))),
    'unauthenticated',
  );
  assert.equal(rates.seen.length, charged);
  assert.equal(by('signature'), 'integrity', 'nothing was signed');
});

test('the rate of a route is charged once, by the head', () => {
  const clock = new HandClock();
  const subject = subjectOf('device', 'd1', 'device', new LocalRates(clock));
  const policy = policyOf(one('rate: { limit: 1/s, burst: 1 }, schema: s.json'));
  const route = policy.proxied('POST', '/b/x', 'd1');
  assert.ok(route !== undefined);
  const bound = policy.bind('proxied', subject, route);
  const staged = (): string => {
    const asked = withBody('{"t":1}');
    const head = codeOf(bound.decideHead({ ...asked, payload: undefined }));
    return head === 'allow' ? codeOf(bound.decideBody(asked)) : head;
  };
  assert.deepEqual([staged(), staged(), staged()], ['allow', 'allow', 'rate']);
  clock.time += 1_000;
  assert.equal(codeOf(bound.decide(withBody('{"t":1}'))), 'allow');
  assert.equal(codeOf(bound.decide(withBody('{"t":1}'))), 'rate');
});

test('the size and the type of a body are judged from the head', () => {
  const policy = policyOf(one('bodyBytes: 8B, contentTypes: [ application/json, text/plain ]'));
  const body = (bodyBytes: number | 'unknown', contentType?: string): string =>
    ask(policy, facts({ method: 'POST', bodyBytes, contentType }));
  assert.equal(body(8, 'application/json'), 'allow');
  assert.equal(body(9, 'application/json'), 'too-large');
  assert.equal(body('unknown', 'Application/JSON ; charset=utf-8'), 'allow');
  assert.equal(body('unknown', 'text/html'), 'malformed');
  assert.equal(body(1), 'malformed');
  assert.equal(body(0), 'allow');
  const more = { bodyBytes: 'unknown', contentType: 'text/plain' } as const;
  assert.equal(ask(policy, withBody('123456789', more)), 'too-large');
});

test('a body under a schema has to be there as a whole, and to fit', () => {
  const policy = policyOf(one('schema: s.json'));
  assert.equal(ask(policy, withBody('{"t":1}')), 'allow');
  assert.equal(ask(policy, withBody('{"t":"1"}')), 'schema');
  assert.equal(ask(policy, withBody('')), 'schema');
  assert.equal(ask(policy, withBody('{"t":1}', { payload: undefined })), 'schema');
  assert.equal(ask(policy, facts({ method: 'POST', bodyBytes: 'unknown' })), 'schema');
  assert.equal(ask(policy, facts()), 'allow', 'GET has none as a rule');
  assert.equal(ask(policy, withBody('{}', { method: 'GET' })), 'schema');
});

class FakeSigned implements Signed {
  readonly #verdict: IntegrityVerdict;
  readonly #later: boolean;
  rules: IntegrityDocument | undefined;

  constructor(verdict: IntegrityVerdict, later = false) {
    this.#verdict = verdict;
    this.#later = later;
  }

  verify(rules: IntegrityDocument): IntegrityVerdict | Promise<IntegrityVerdict> {
    this.rules = rules;
    return this.#later ? Promise.resolve(this.#verdict) : this.#verdict;
  }
}

const good = { ok: true } as const;
const bad = { ok: false, detail: 'the body is another' } as const;

test('a signature is verified where the route asks, before the schema and by its rules', async () => {
  const policy = policyOf(one('schema: s.json, integrity: { accept: [ hmac ], clock: 10s }'));
  const signed = new FakeSigned(good);
  assert.equal(ask(policy, withBody('{"t":1}', { signed })), 'allow');
  assert.deepEqual(signed.rules, { required: true, accept: ['hmac'], windowMs: 10_000 });
  assert.equal(ask(policy, withBody('{"t":1}')), 'integrity');
  assert.equal(ask(policy, withBody('{}', { signed: new FakeSigned(bad) })), 'integrity');
  assert.equal(ask(policy, withBody('{}', { signed })), 'schema');
  const route = policy.proxied('POST', '/b/x', 'd1');
  assert.ok(route !== undefined);
  const bound = policy.bind('proxied', d1, route);
  for (const [verdict, expected] of [
    [good, 'allow'],
    [bad, 'integrity'],
  ] as const) {
    const later = bound.decide(withBody('{"t":1}', { signed: new FakeSigned(verdict, true) }));
    assert.ok(later instanceof Promise);
    assert.equal(codeOf(await later), expected);
  }
  assert.equal(codeOf(bound.decideHead(facts())), 'allow', 'the head waits for no signature');
});

test('a signature that need not be there has to hold when it is; elsewhere nobody looks', () => {
  const optional = policyOf(one('integrity: { required: false }'));
  assert.equal(ask(optional, facts()), 'allow');
  assert.equal(ask(optional, facts({ signed: new FakeSigned(bad) })), 'integrity');
  const none = policyOf(one());
  const signed = new FakeSigned(bad);
  assert.equal(ask(none, facts({ signed })), 'allow');
  assert.equal(signed.rules, undefined);
});

test('refused bodies and signatures open the breaker, a good one closes it', () => {
  const clock = new HandClock();
  const breakers = new Breakers(clock);
  const breaker = 'breaker: { failures: 2, within: 10s, open: 60s }';
  const policy = policyOf(one(`schema: s.json, integrity: {}, ${breaker}`), breakers);
  const signed = new FakeSigned(good);
  assert.equal(ask(policy, withBody('{}', { signed })), 'schema');
  assert.equal(ask(policy, withBody('{"t":1}', { signed })), 'allow');
  assert.equal(ask(policy, withBody('{}', { signed })), 'schema');
  assert.equal(ask(policy, withBody('{"t":1}')), 'integrity');
  assert.equal(ask(policy, withBody('{"t":1}', { signed })), 'rate');
  clock.time += 60_001;
  assert.equal(ask(policy, withBody('{"t":1}', { signed })), 'allow');
});

test('messages: whoever has come by another proof than a certificate needs every route to take it', () => {
  const topic = 'devices/d1/telemetry';
  const by = (text: string, method?: AuthenticationMethod, signed?: Signed): string => {
    const message = { ...messageOfText('{}'), ...(method && { by: method }), signed };
    return codeOf(compilePolicy(documentOf(text), 1).bind('publish', d1, topic).decide(message));
  };
  const signed = new FakeSigned(good);
  const closed = 'workers: 1\n';
  assert.equal(by(closed), 'allow');
  for (const method of ['signature', 'token', 'device-jwt'] as const)
    assert.equal(by(closed, method, signed), 'unauthenticated', method);
  const open = 'routes: { telemetry: { integrity: {} } }\n';
  assert.equal(by(open, 'signature', signed), 'allow');
  assert.equal(by(open, 'signature'), 'integrity');
  assert.equal(by(open, undefined, signed), 'allow');
  assert.equal(by(open), 'integrity');
  assert.equal(by(open, 'device-jwt', signed), 'unauthenticated');
  const two =
    'routes: { telemetry: { authenticate: [ device-jwt ] }, all: { match: "devices/#" } }\n';
  assert.equal(by(two, 'device-jwt'), 'unauthenticated', 'one of the routes does not take it');
  const both = two.replace('"devices/#"', '"devices/#", authenticate: [ certificate, device-jwt ]');
  assert.equal(by(both, 'device-jwt'), 'allow');
  assert.equal(by(both, 'certificate'), 'unauthenticated');
});

test('messages: what is read by another proof than a certificate is what routes open to it', () => {
  const policy = policyOf(`
routes:
  telemetry: { authenticate: [ certificate ] }
  commands: { match: devices/+/commands/#, authenticate: [ certificate, device-jwt ] }
`);
  assert.ok(policy.takes('device-jwt', 'devices/d1/commands/#'));
  assert.ok(policy.takes('device-jwt', 'devices/d1/commands/reboot'));
  assert.ok(!policy.takes('token', 'devices/d1/commands/reboot'));
  assert.ok(!policy.takes('device-jwt', 'devices/d1/#'), 'not all of it, and telemetry is not');
  assert.ok(!policy.takes('device-jwt', 'devices/d1/status'), 'no route opens it');
  for (const filter of ['#', 'devices/d1/telemetry', 'x'])
    assert.ok(policy.takes('certificate', filter), filter);
});

test('messages: of several routes the strictest signature counts', () => {
  const topic = 'devices/d1/telemetry';
  const rulesOf = (first: string, second: string): [string, IntegrityDocument | undefined] => {
    const text = `routes: { telemetry: { integrity: ${first} }, all: { match: "devices/#", integrity: ${second} } }\n`;
    const signed = new FakeSigned(good);
    const policy = compilePolicy(documentOf(text), 1);
    const message = { ...messageOfText('{}'), signed };
    return [codeOf(policy.bind('publish', d1, topic).decide(message)), signed.rules];
  };
  assert.deepEqual(
    rulesOf(
      '{ accept: [ hmac, body-hmac ], clock: 60s, required: false }',
      '{ accept: [ hmac, http-signature ], clock: 10s }',
    ),
    ['allow', { required: true, accept: ['hmac'], windowMs: 10_000 }],
  );
  assert.equal(rulesOf('{ accept: [ hmac ] }', '{ accept: [ body-hmac ] }')[0], 'integrity');
});

test('a policy document with an unsafe route is refused', () => {
  const whole = documentOf(one('integrity: {}'));
  const [route] = whole.proxied;
  assert.ok(route !== undefined);
  const unsafe: readonly (readonly [string, unknown])[] = [
    ['no list', undefined],
    ['the same name', [route, { ...route, path: '/c/' }]],
    ['the name of a route of messages', [{ ...route, name: 'telemetry' }]],
    ['the same path', [route, { ...route, name: 'c' }]],
    [
      'the same path otherwise written',
      [
        { ...route, path: '/a:b' },
        { ...route, name: 'c', path: '/a%3Ab' },
      ],
    ],
    ['no path', [{ ...route, path: '/a//b' }]],
    ['a path of the gateway', [{ ...route, path: '/api/v1/x' }]],
    ['no method', [{ ...route, methods: [] }]],
    ['a method that is none', [{ ...route, methods: ['CONNECT'] }]],
    ['no proof', [{ ...route, authenticate: [] }]],
    ['a proof that is none', [{ ...route, authenticate: ['password'] }]],
    ['signatures of no form', [{ ...route, authenticate: ['signature'], integrity: undefined }]],
    ['no form', [{ ...route, integrity: { required: true, accept: [], windowMs: 1 } }]],
    ['no window', [{ ...route, integrity: { required: true, accept: ['hmac'] } }]],
    ['no bound', [{ ...route, bodyBytes: Number.NaN }]],
    ['no rate', [{ ...route, rate: undefined }]],
    ['a rate of nothing', [{ ...route, bytesRate: [{ limit: 0, perMs: 1, burst: 0 }] }]],
    ['roles that are none', [{ ...route, roles: 'device' }]],
    ['a breaker that is none', [{ ...route, breaker: {} }]],
    ['WebSocket or not', [{ ...route, webSocket: 'yes' }]],
  ];
  for (const [name, proxied] of unsafe) {
    assert.throws(
      // What got around the types.
      () => compilePolicy({ ...whole, proxied } as typeof whole, 1),
      /the policy is refused/u,
      name,
    );
  }
  const device = whole.roles['device'];
  assert.ok(device !== undefined);
  for (const request of [undefined, ['GET'], ['GET /a//b'], ['get /a'], ['GET /a b'], [1]]) {
    const roles = { device: { ...device, allow: { ...device.allow, request } } };
    assert.throws(
      () => compilePolicy({ ...whole, roles } as typeof whole, 1),
      /the policy is refused/u,
    );
  }
});

test('the explanation of a request is what the workers decide', () => {
  const document = documentOf(`
roles: { reader: { allow: { request: [ 'GET /b/open' ] }, deny: { request: [ '* /b/no' ] } } }
routes: { b: { path: /b/, methods: [ GET, POST ], ${upstream}, integrity: {} } }
`);
  const explained = (role: string, method: string, target: string) => {
    const told = explainRequest({ document }, { kind: 'device', id: 'd1', role }, method, target);
    return [told.allowed, told.code, told.because, told.path];
  };
  assert.deepEqual(explained('device', 'GET', '/b/%78?q=1'), [
    true,
    undefined,
    'allowed by routes.b.roles',
    '/b/x',
  ]);
  assert.deepEqual(explained('reader', 'GET', '/b/open'), [
    true,
    undefined,
    'allowed by roles.reader.allow.request[0] "GET /b/open"',
    '/b/open',
  ]);
  assert.deepEqual(explained('reader', 'GET', '/b/no'), [
    false,
    'forbidden',
    'denied by roles.reader.deny.request[0] "* /b/no"',
    '/b/no',
  ]);
  assert.equal(explained('reader', 'POST', '/b/open')[1], 'forbidden');
  assert.equal(explained('device', 'DELETE', '/b/x')[1], 'not-found');
  assert.equal(explained('device', 'GET', '/c')[1], 'not-found');
  assert.deepEqual(explained('device', 'GET', '/b/../c'), [
    false,
    'malformed',
    'the path has a dot segment',
    undefined,
  ]);
  const told = explainRequest(
    { document },
    { kind: 'device', id: 'd1', role: 'device' },
    'GET',
    '/b/x',
  );
  assert.deepEqual([told.route?.name, told.route?.signed], ['b', true]);
});

const segment = fc.constantFrom('a', 'b', 'c', '*', '${id}');
const patternText = fc
  .tuple(fc.array(segment, { minLength: 1, maxLength: 3 }), fc.boolean())
  .map(([segments, subtree]) => `/${segments.join('/')}${subtree ? '/' : ''}`);
const asked = fc
  .tuple(
    fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { minLength: 1, maxLength: 4 }),
    fc.boolean(),
  )
  .map(([segments, slash]) => `/${segments.join('/')}${slash ? '/' : ''}`);

const ranks = (text: string | undefined): number =>
  text === undefined || text === '' ? 3 : ['${id}', '*'].indexOf(text) + 1;

function compared(a: string, b: string): number {
  const [x, y] = [a.split('/'), b.split('/')];
  for (let i = 1; i < Math.max(x.length, y.length); i += 1) {
    const order = ranks(x[i]) - ranks(y[i]);
    if (order !== 0) return order;
  }
  return 0;
}

/** The best one, unless the path with another end belongs to a better one. */
function naive(patterns: readonly string[], path: string, id: string): string | undefined {
  const found = bestOf(patterns, path, id);
  const other = bestOf(patterns, path.endsWith('/') ? path.slice(0, -1) : `${path}/`, id);
  if (found === undefined || other === undefined) return found;
  return compared(other, found) < 0 ? undefined : found;
}

/** Every pattern tried, and the best of those that match by a comparison of two. */
function bestOf(patterns: readonly string[], path: string, id: string): string | undefined {
  const matching = patterns.filter((pattern) => {
    const expression = pattern
      .split('/')
      .map((text) => (text === '${id}' ? id : text.replace(/^\*$/u, '[^/]+')))
      .join('/');
    return new RegExp(`^${expression}${pattern.endsWith('/') ? '.*' : ''}$`, 'u').test(path);
  });
  return matching.toSorted(compared)[0];
}

test('the route that is found is the best of all that match', () => {
  const whole = documentOf(one());
  const [route] = whole.proxied;
  assert.ok(route !== undefined);
  fc.assert(
    fc.property(
      fc.uniqueArray(patternText, { minLength: 1, maxLength: 8 }),
      asked,
      fc.constantFrom('a', 'b', 'd'),
      (patterns, path, id) => {
        assert.ok(canonicalPath(path).ok);
        const proxied = patterns.map((text, i) => ({ ...route, name: `r${i}`, path: text }));
        const policy = compilePolicy({ ...whole, proxied }, 1);
        assert.equal(
          policy.proxied('GET', path, id)?.document.path,
          naive(patterns, path, id),
          `${path} as ${id} among ${patterns.join(' ')}`,
        );
      },
    ),
    { numRuns: 300 },
  );
});
