import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import { test } from 'node:test';
import { principalName } from '../../../common/base/principal.ts';
import {
  access,
  clientKey,
  deviceJwt,
  introspection,
  key,
  refused,
  show,
  taken,
  world,
} from './good-tokens.ts';
import { ecdsa, eddsa, issuerOf, now, pair } from './test-support.ts';
import type { Pair } from './test-support.ts';
import type { TokenVerdict } from './verdict.ts';

for (const [kind, alg, signer] of [
  ['P-256', 'ES256', (each: Pair) => ecdsa(each)],
  ['P-384', 'ES384', (each: Pair) => ecdsa(each, 'sha384')],
  ['Ed25519', 'EdDSA', eddsa],
  ['Ed25519', 'Ed25519', eddsa],
] as const) {
  test(`a device signs for itself by ${alg}`, async () => {
    const judging = world();
    const its = pair(kind);
    judging.registerKey('d1.2', 'd1', its);
    const token = deviceJwt({}, { alg, kid: 'd1.2' }, signer(its));
    const verdict = taken(await show(judging, token));
    assert.deepEqual(
      [verdict.by, verdict.principal, verdict.registered],
      ['device-jwt', 'device/d1', true],
    );
  });
}

for (const claims of [
  { aud: 'gateway.example' },
  { aud: 'Gateway.Example' },
  { aud: ['x', 'east.site.example'] },
  { aud: '::1' },
  { sub: 'd1', iss: 'd1' },
  { sub: 'device/d1' },
  { sub: 'spiffe://fleet.example/device/d1' },
  { iat: now, exp: now + 3_600 },
  { iat: now + 30, exp: now + 3_630 },
  { iat: now - 3_599, exp: now + 1 },
]) {
  test(`a device may say ${JSON.stringify(claims)}`, async () => {
    taken(await show(world(), deviceJwt(claims, { typ: 'JWT' })));
  });
}

test('a JWT of a device is remembered, and ends with its key or its device', async () => {
  const judging = world();
  const token = deviceJwt();
  const verdict = taken(await show(judging, token));
  taken(await show(judging, token));
  // Another object of the same key, as a fresh snapshot brings it.
  const der = clientKey.publicKey.export({ format: 'der', type: 'spki' });
  const publicKey = createPublicKey({ key: der, format: 'der', type: 'spki' });
  judging.registerKey('d1.1', 'd1', { ...clientKey, publicKey });
  taken(await show(judging, token));
  assert.equal(verdict.stands(), true);
  judging.registerKey('d1.1', 'd1', pair('P-256'));
  refused(await show(judging, token));
  assert.equal(verdict.stands(), false);
  judging.registerKey('d1.1', 'd1', clientKey);
  taken(await show(judging, token));
  judging.keys.clear();
  refused(await show(judging, token));
});

test('a device on a connection with a certificate speaks for itself only', async () => {
  const judging = world();
  const certificate = Buffer.from('x');
  const as = (id: string): Promise<TokenVerdict> =>
    show(judging, deviceJwt(), { peer: { certificate, principal: principalName('device', id) } });
  taken(await as('d1'));
  refused(await as('d2'));
});

test('only devices sign for themselves, and only those that are registered', async () => {
  const judging = world();
  judging.keys.set('service:x.1', {
    principal: principalName('service', 'x'),
    key: clientKey.publicKey,
    stands: () => true,
  });
  judging.register('service', 'x');
  refused(await show(judging, deviceJwt({}, { kid: 'service:x.1' })));
  judging.registerKey('d9.1', 'd9', clientKey);
  refused(await show(judging, deviceJwt({}, { kid: 'd9.1' })));
});

test('MQTT: the user name is the device, the password its JWT', async () => {
  const nobody = { certificate: undefined, principal: undefined };
  const judging = world();
  const connect = (user: string | undefined, password: string | undefined): Promise<TokenVerdict> =>
    judging.tokens.authenticateMqtt(
      user,
      password === undefined ? undefined : Buffer.from(password),
      nobody,
    );
  const verdict = taken(await connect('d1', deviceJwt()));
  assert.deepEqual([verdict.by, verdict.principal], ['device-jwt', 'device/d1']);
  taken(await connect('d1', deviceJwt()));
  for (const user of [undefined, '', 'd2', 'D1', 'device/d1', 'd1\0']) {
    assert.equal(refused(await connect(user, deviceJwt())).code, 'unauthenticated');
  }
  for (const password of [
    undefined,
    '',
    'x',
    `Bearer ${deviceJwt()}`,
    `${deviceJwt()}\0`,
    ` ${deviceJwt()}`,
    'x'.repeat(9_000),
    deviceJwt({}, {}, ecdsa(key)),
    deviceJwt({ exp: now }),
  ]) {
    refused(await connect('d1', password));
  }
});

test('MQTT: an access token is no password, also when it has been taken as a token before', async () => {
  const judging = world();
  const token = access({ sub: 'a' });
  taken(await show(judging, token));
  refused(
    await judging.tokens.authenticateMqtt('app-a', Buffer.from(token), {
      certificate: undefined,
      principal: undefined,
    }),
  );
  const asking = world(issuerOf([], { introspection }));
  asking.answer = () => ({ outcome: 'active', claims: { active: true } });
  refused(
    await asking.tokens.authenticateMqtt('app-a', Buffer.from('mF_9.B5f-4.1JqM'), {
      certificate: undefined,
      principal: undefined,
    }),
  );
  assert.deepEqual(asking.asked, []);
});
