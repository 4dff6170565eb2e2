import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import type { IntegrityDocument } from '../../common/config/proxied-route.ts';
import type { Signatures, SignedRequestParts } from './signatures.ts';
import { d1, d2, nextNonce, rules, SigningWorld, telemetry, withHeader } from './signing-world.ts';

type Change = (signed: SignedRequestParts) => SignedRequestParts;

async function outcome(
  signatures: Signatures,
  parts: SignedRequestParts,
  asked: IntegrityDocument = rules,
): Promise<string> {
  const signed = signatures.signedRequest(parts);
  if (signed === undefined) return 'unsigned';
  const verdict = await signed.verify(asked);
  return verdict.ok ? 'ok' : verdict.detail;
}

const flipped = (value: string): string => (value.startsWith('0') ? '1' : '0') + value.slice(1);
const set =
  (name: string, value: string): Change =>
  (parts) =>
    withHeader(parts, name, () => value);
const without =
  (name: string): Change =>
  (parts) =>
    withHeader(parts, name, () => undefined);
const twice =
  (name: string): Change =>
  (parts) => {
    const at = parts.rawHeaders.findIndex((each) => each.toLowerCase() === name.toLowerCase());
    const rawHeaders = [...parts.rawHeaders, name.toUpperCase(), parts.rawHeaders[at + 1] ?? ''];
    return { ...parts, rawHeaders };
  };
const changed =
  (to: Partial<SignedRequestParts>): Change =>
  (parts) => ({ ...parts, ...to });

/** What can be changed of any signed request, whatever its form. */
const ofAnyForm: readonly (readonly [string, Change])[] = [
  ['the method', changed({ method: 'PUT' })],
  ['the path', changed({ path: '/api/v1/status' })],
  ['a query added', changed({ query: 'a=1' })],
  ['the body', changed({ body: Buffer.from('{"temp": 99.9, "unit": "C"}') })],
  ['the body gone', changed({ body: Buffer.alloc(0) })],
  ['the principal of the connection', changed({ principal: d2 })],
];

const hmacChanges: readonly (readonly [string, Change])[] = [
  ...ofAnyForm,
  ['the signature', (signed) => withHeader(signed, 'x-iot-signature', flipped)],
  ['the signature cut short', (signed) => withHeader(signed, 'x-iot-signature', (v) => v.slice(2))],
  ['the signature longer', (signed) => withHeader(signed, 'x-iot-signature', (v) => `${v}00`)],
  ['the signature empty', set('x-iot-signature', '')],
  ['the timestamp', set('x-iot-timestamp', '1763740801')],
  ['the timestamp with a zero', (signed) => withHeader(signed, 'x-iot-timestamp', (v) => `0${v}`)],
  ['the timestamp in milliseconds', set('x-iot-timestamp', '1763740800000')],
  ['the timestamp signed', set('x-iot-timestamp', '+1763740800')],
  ['the timestamp no number', set('x-iot-timestamp', '1e9')],
  ['no timestamp', without('x-iot-timestamp')],
  ['the nonce', set('x-iot-nonce', 'another-nonce-0000')],
  ['the nonce too short', set('x-iot-nonce', 'short')],
  ['the nonce too long', set('x-iot-nonce', 'n'.repeat(65))],
  ['the nonce with a space', set('x-iot-nonce', 'nonce nonce nonce')],
  ['no nonce', without('x-iot-nonce')],
  ['the key id of another device', set('x-iot-key-id', 'd2.own')],
  ['the key id of another key', set('x-iot-key-id', 'd1.secret')],
  ['the key id of a public key', set('x-iot-key-id', 'd1.p256')],
  ['the key id of nobody', set('x-iot-key-id', 'd3.own')],
  ['the key id of no key', set('x-iot-key-id', 'd1.other')],
  ['the key id of the prototype', set('x-iot-key-id', 'd1.__proto__')],
  ['no key id', without('x-iot-key-id')],
  ['the signature twice', twice('x-iot-signature')],
  ['the timestamp twice', twice('x-iot-timestamp')],
  ['the nonce twice', twice('x-iot-nonce')],
  ['the key id twice', twice('x-iot-key-id')],
  [
    'a signature of another kind beside it',
    (signed) => ({ ...signed, rawHeaders: [...signed.rawHeaders, 'Signature', 'sig=:AAEC:'] }),
  ],
];

for (const [what, change] of hmacChanges) {
  void test(`hmac refused, changed: ${what}`, async () => {
    const world = new SigningWorld();
    const signed = world.hmac();
    assert.notEqual(await outcome(world.signatures, change(signed)), 'ok');
    assert.equal(await outcome(world.signatures, signed), 'ok', 'and used nothing up');
  });
}

const messageChanges: readonly (readonly [string, Change])[] = [
  ...ofAnyForm,
  [
    'the signature',
    (signed) => withHeader(signed, 'signature', (v) => v.replace(/:.(.)/, ':$1$1')),
  ],
  ['no signature', without('signature')],
  ['no input', without('signature-input')],
  ['the signature twice', twice('signature')],
  ['the input twice', twice('signature-input')],
  ['the digest', set('content-digest', `sha-256=:${'A'.repeat(43)}=:`)],
  ['no digest', without('content-digest')],
  [
    'the time',
    (signed) =>
      withHeader(signed, 'signature-input', (v) =>
        v.replace('created=1763740800', 'created=1763740801'),
      ),
  ],
  [
    'the nonce',
    (signed) => withHeader(signed, 'signature-input', (v) => v.replace('nonce-', 'nOnce-')),
  ],
  [
    'the key',
    (signed) => withHeader(signed, 'signature-input', (v) => v.replace('d1.own', 'd2.own')),
  ],
  [
    'a component less',
    (signed) => withHeader(signed, 'signature-input', (v) => v.replace('"@path" ', '')),
  ],
  [
    'components in another order',
    (signed) =>
      withHeader(signed, 'signature-input', (v) =>
        v.replace('"@method" "@path"', '"@path" "@method"'),
      ),
  ],
  [
    'another algorithm named',
    (signed) => withHeader(signed, 'signature-input', (v) => `${v};alg="ed25519"`),
  ],
];

for (const [what, change] of messageChanges) {
  void test(`http-signature refused, changed: ${what}`, async () => {
    const world = new SigningWorld();
    const signed = world.message();
    assert.notEqual(await outcome(world.signatures, change(signed)), 'ok');
    assert.equal(await outcome(world.signatures, signed), 'ok', 'and used nothing up');
  });
}

for (const by of ['own', 'secret', 'p256', 'p384', 'ed25519'] as const) {
  void test(`http-signature by a key of kind ${by} verifies, and by no other`, async () => {
    const world = new SigningWorld();
    assert.equal(await outcome(world.signatures, world.message({ by })), 'ok');
    const other = by === 'own' ? 'secret' : 'own';
    const parameters = `;created=1763740800;nonce="${nextNonce()}";keyid="d1.${other}"`;
    const mismatched = world.message({ by, parameters });
    assert.notEqual(await outcome(world.signatures, mismatched), 'ok');
  });
}

/** Each is signed as it says, and still not taken. */
const illFormed: readonly (readonly [string, Parameters<SigningWorld['hmac']>[0]])[] = [
  ['a timestamp with a zero before it', { timestamp: '01763740800' }],
  ['a timestamp with a sign', { timestamp: '+1763740800' }],
  ['a timestamp with a fraction', { timestamp: '1763740800.0' }],
  ['a timestamp in hexadecimal', { timestamp: '0x6920a800' }],
  ['a timestamp with a space', { timestamp: ' 1763740800' }],
  ['an empty timestamp', { timestamp: '' }],
  ['a nonce of 15 characters', { nonce: 'n'.repeat(15) }],
  ['a nonce of 65 characters', { nonce: 'n'.repeat(65) }],
  ['a nonce with a dot', { nonce: `${'n'.repeat(16)}.` }],
  ['an empty nonce', { nonce: '' }],
];

for (const [what, request] of illFormed) {
  void test(`hmac with ${what} is refused`, async () => {
    const world = new SigningWorld();
    assert.notEqual(await outcome(world.signatures, world.hmac(request)), 'ok');
  });
}

for (const length of [16, 64]) {
  void test(`hmac with a nonce of ${length} characters is taken`, async () => {
    const world = new SigningWorld();
    const signed = world.hmac({ nonce: 'n'.repeat(length) });
    assert.equal(await outcome(world.signatures, signed), 'ok');
  });
}

/** The same of messages. */
const insufficient: readonly (readonly [string, Parameters<SigningWorld['message']>[0]])[] = [
  ['without the method', { components: '"@path" "content-digest"' }],
  ['without the path', { components: '"@method" "content-digest"' }],
  ['without the digest of a body', { components: '"@method" "@path"' }],
  ['without the query', { query: 'a=1' }],
  ['without anything', { components: '' }],
  ['without a time', { parameters: `;nonce="${nextNonce()}";keyid="d1.own"` }],
  [
    'with a time before all times',
    { parameters: `;created=-5;nonce="${nextNonce()}";keyid="d1.own"` },
  ],
  ['without a nonce', { parameters: ';created=1763740800;keyid="d1.own"' }],
  ['with a nonce that is short', { parameters: ';created=1763740800;nonce="n";keyid="d1.own"' }],
  ['without a key', { parameters: `;created=1763740800;nonce="${nextNonce()}"` }],
  [
    'that has expired',
    { parameters: `;created=1763740790;expires=1763740800;nonce="${nextNonce()}";keyid="d1.own"` },
  ],
  [
    'with an algorithm that is not the key’s',
    {
      parameters: `;created=1763740800;nonce="${nextNonce()}";keyid="d1.own";alg="rsa-v1_5-sha256"`,
    },
  ],
  ['with the digest of another body', { digest: 'A'.repeat(43).concat('=') }],
  ['with a digest that is not sent', { digest: '' }],
  ['with a field that is not sent', { components: '"@method" "@path" "content-digest" "x-none"' }],
  ['with a status', { components: '"@method" "@path" "content-digest" "@status"' }],
];

for (const [what, message] of insufficient) {
  void test(`http-signature ${what} is refused`, async () => {
    const world = new SigningWorld();
    assert.notEqual(await outcome(world.signatures, world.message(message)), 'ok');
  });
}

const sufficient: readonly (readonly [string, Parameters<SigningWorld['message']>[0]])[] = [
  ['over the target URI', { query: 'a=1', components: '"@method" "@target-uri" "content-digest"' }],
  [
    'over the request target',
    { query: '', components: '"@method" "@request-target" "content-digest"' },
  ],
  [
    'over path and query',
    { query: 'a=1', components: '"@method" "@path" "@query" "content-digest"' },
  ],
  ['over an empty query', { query: '', components: '"@method" "@path" "@query" "content-digest"' }],
  [
    'over more than it has to',
    { components: '"@authority" "@scheme" "@method" "@path" "x-twice" "host" "content-digest"' },
  ],
  [
    'without a body',
    { method: 'GET', body: Buffer.alloc(0), digest: '', components: '"@method" "@path"' },
  ],
  [
    'with all parameters',
    {
      parameters: `;created=1763740800;expires=1763740801;nonce="${nextNonce()}";alg="hmac-sha256";keyid="d1.own";tag="x"`,
    },
  ],
];

for (const [what, message] of sufficient) {
  void test(`http-signature ${what} is taken`, async () => {
    const world = new SigningWorld();
    assert.equal(await outcome(world.signatures, world.message(message)), 'ok');
  });
}

for (const form of ['hmac', 'message'] as const) {
  void test(`${form}: a replay is refused, here, by another worker, and over any route`, async () => {
    const world = new SigningWorld();
    const signed = world[form]();
    assert.equal(await outcome(world.signatures, signed), 'ok');
    assert.match(await outcome(world.signatures, signed), /replay/);
    assert.match(await outcome(world.worker(), signed), /replay/);
    const wider = { ...rules, windowMs: 600_000 };
    assert.match(await outcome(world.worker(), signed, wider), /replay/);
  });

  void test(`${form}: of many at once one is let through`, async () => {
    const world = new SigningWorld();
    const signed = world[form]();
    const workers = [world.signatures, world.worker(), world.worker()];
    const all = workers.flatMap((each) => [outcome(each, signed), outcome(each, signed)]);
    assert.equal((await Promise.all(all)).filter((each) => each === 'ok').length, 1);
  });

  void test(`${form}: whoever asks twice about one request gets one answer`, async () => {
    const world = new SigningWorld();
    const signed = world.signatures.signedRequest(world[form]());
    assert.ok(signed);
    const first = await signed.verify(rules);
    assert.deepEqual(first, { ok: true });
    assert.deepEqual(await signed.verify(rules), first);
    const strict = { ...rules, accept: ['body-hmac'] } as const;
    assert.equal((await signed.verify(strict)).ok, false, 'its rules are looked at all the same');
  });

  void test(`${form}: the window is as wide as the route says, both ways`, async () => {
    for (const [offset, ok] of [
      [-61_000, false],
      [-60_000, true],
      [60_000, true],
      [61_000, false],
    ] as const) {
      const world = new SigningWorld();
      const signed = world[form]();
      world.now += offset;
      const said = await outcome(world.signatures, signed);
      assert.equal(said === 'ok', ok, `${offset}: ${said}`);
    }
  });

  void test(`${form}: what the route does not accept is refused`, async () => {
    const world = new SigningWorld();
    const other = form === 'hmac' ? 'http-signature' : 'hmac';
    const said = await outcome(world.signatures, world[form](), { ...rules, accept: [other] });
    assert.match(said, /not accepted/);
  });

  void test(`${form}: a store that fails refuses, and says whose fault it is`, async () => {
    const world = new SigningWorld();
    world.store.fails = true;
    const signed = world.signatures.signedRequest(world[form]());
    const verdict = await signed?.verify(rules);
    assert.deepEqual(verdict, {
      ok: false,
      detail: 'the nonce cannot be stored',
      code: 'unavailable',
    });
  });

  void test(`${form}: on a connection of the key's own principal it is taken`, async () => {
    const world = new SigningWorld();
    assert.equal(await outcome(world.signatures, world[form]({ principal: d1 })), 'ok');
  });

  void test(`${form}: it says who has signed, and stores nothing before it is verified`, async () => {
    const world = new SigningWorld();
    const parts = world[form]();
    const found = world.signatures.authenticateBySignature(parts, rules);
    assert.ok(found.ok);
    assert.equal(found.name, d1);
    assert.equal(found.keyId, 'own');
    assert.equal(found.identity, world.identity(d1));
    assert.equal(world.signatures.authenticateBySignature(parts, rules).ok, true);
    assert.deepEqual(await found.signed.verify(rules), { ok: true });
    assert.match(await outcome(world.signatures, parts), /replay/);
    const tampered = { ...world[form](), method: 'PUT' };
    assert.equal(world.signatures.authenticateBySignature(tampered, rules).ok, false);
    assert.equal(world.signatures.authenticateBySignature(telemetry, rules).ok, false);
  });
}

void test('a nonce that was used with one form, time or key is not new with another', async () => {
  const world = new SigningWorld();
  const nonce = nextNonce();
  assert.equal(await outcome(world.signatures, world.hmac({ nonce })), 'ok');
  const parameters = `;created=1763740800;nonce="${nonce}";keyid="d1.p256"`;
  assert.match(
    await outcome(world.signatures, world.message({ by: 'p256', parameters })),
    /replay/,
  );
  world.now += 1_000;
  assert.match(await outcome(world.signatures, world.hmac({ nonce })), /replay/);
  const ofAnother = world.hmac({ nonce, keyId: 'd2.own', key: world.derived(d2) });
  assert.equal(await outcome(world.signatures, ofAnother), 'ok');
});

void test('what is canonical about a signature is its bytes', async () => {
  const world = new SigningWorld();
  const upper = withHeader(world.hmac(), 'x-iot-signature', (value) => value.toUpperCase());
  assert.equal(await outcome(world.signatures, upper), 'ok');
});

void test('a request without a signature is no signed one', () => {
  const world = new SigningWorld();
  const headers = [
    'Host',
    'h',
    'X-IoT-Nonce',
    'n',
    'Content-Digest',
    'sha-256=:AA==:',
    'X-Something-Else',
    '',
  ];
  assert.equal(world.signatures.signedRequest({ ...telemetry, rawHeaders: headers }), undefined);
});

const bodyRules: IntegrityDocument = { ...rules, accept: ['body-hmac'] };

function bodySigned(world: SigningWorld, more: Partial<SignedRequestParts> = {}, keyId?: string) {
  const parts = { ...telemetry, ...more };
  const signature = createHmac('sha256', world.derived(d1)).update(parts.body).digest('hex');
  const rawHeaders = ['X-IoT-Signature', signature];
  if (keyId !== undefined) rawHeaders.push('X-IoT-Key-Id', keyId);
  return { ...parts, rawHeaders };
}

void test('body-hmac: with a certificate, or with a key id, where the route accepts it', async () => {
  const world = new SigningWorld();
  const of = (parts: SignedRequestParts, asked = bodyRules) =>
    outcome(world.signatures, parts, asked);
  assert.match(await of(bodySigned(world)), /no key id/);
  assert.match(await of(bodySigned(world, { principal: d2 })), /does not verify/);
  assert.match(await of(bodySigned(world, { principal: d2 }, 'd1.own')), /another principal/);
  assert.match(await of(bodySigned(world, {}, 'd1.secret')), /does not verify/);
  assert.match(await of(bodySigned(world, {}, 'd1.p256')), /not one for HMAC/);
  assert.match(await of(bodySigned(world, {}, 'd1.own'), rules), /not accepted/);
  const other = { ...bodySigned(world, { principal: d1 }), body: Buffer.from('other') };
  assert.match(await of(other), /does not verify/);
  assert.equal(await of(bodySigned(world, { principal: d1 })), 'ok');
});

void test('body-hmac: the same signature again is refused, however it is written and whoever is named', async () => {
  const world = new SigningWorld();
  const first = bodySigned(world, { principal: d1 });
  assert.equal(await outcome(world.signatures, first, bodyRules), 'ok');
  const upper = withHeader(first, 'x-iot-signature', (value) => value.toUpperCase());
  assert.match(await outcome(world.worker(), upper, bodyRules), /replay/);
  assert.match(await outcome(world.worker(), bodySigned(world, {}, 'd1.own'), bodyRules), /replay/);
  const next = bodySigned(world, { principal: d1, body: Buffer.from('next') });
  assert.equal(await outcome(world.signatures, next, bodyRules), 'ok');
});

/** As user properties of MQTT: lower case, method PUBLISH, the topic for a path. */
function published(world: SigningWorld, topic = 'devices/d1/telemetry') {
  const payload = Buffer.from('22.5');
  const { rawHeaders } = world.hmac({ method: 'PUBLISH', path: topic, body: payload });
  const userProperties: [string, string][] = [['site', 'a']];
  for (let i = 2; i + 1 < rawHeaders.length; i += 2) {
    userProperties.push([(rawHeaders[i] ?? '').toLowerCase(), rawHeaders[i + 1] ?? '']);
  }
  return { topic, payload, userProperties, principal: d1 };
}

void test('an MQTT message is signed over its topic and payload', async () => {
  const world = new SigningWorld();
  const publish = published(world);
  const of = async (more: Partial<typeof publish> = {}): Promise<string> => {
    const verdict = await world.signatures.signedPublish({ ...publish, ...more })?.verify(rules);
    if (verdict === undefined) return 'unsigned';
    return verdict.ok ? 'ok' : verdict.detail;
  };
  assert.match(await of({ topic: 'devices/d1/status' }), /not verify/);
  assert.match(await of({ payload: Buffer.from('99.9') }), /not verify/);
  assert.match(await of({ principal: d2 }), /another principal/);
  const repeated = [...publish.userProperties, ['x-iot-nonce', 'another-nonce-0000']] as const;
  assert.match(await of({ userProperties: repeated.map(([a = '', b = '']) => [a, b]) }), /twice/);
  assert.equal(await of({ userProperties: [['site', 'a']] }), 'unsigned');
  assert.equal(await of(), 'ok');
  assert.match(await of(), /replay/);
});

void test('a topic with a line feed is not signed', async () => {
  const world = new SigningWorld();
  const signed = world.signatures.signedPublish(published(world, 'devices/d1/a\nb'));
  const verdict = await signed?.verify(rules);
  assert.equal(verdict?.ok, false);
});

void test('what was sent over HTTPS is a replay over MQTT, and the other way round', async () => {
  const world = new SigningWorld();
  const publish = published(world);
  const { rawHeaders } = world.hmac({
    method: 'PUBLISH',
    path: publish.topic,
    body: publish.payload,
  });
  const nonce = publish.userProperties.find(([name]) => name === 'x-iot-nonce')?.[1] ?? '';
  assert.deepEqual(await world.signatures.signedPublish(publish)?.verify(rules), { ok: true });
  assert.ok(rawHeaders.length > 0);
  assert.match(await outcome(world.worker(), world.hmac({ nonce })), /replay/);
});
