import assert from 'node:assert/strict';
import { createHash, createPublicKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { openJwt } from '../../../test/harness/signed-jwt.ts';
import {
  acmeLeaf,
  assertRefused,
  certificates,
  clientCredentials,
  issuer,
  root,
  spiffeLeaf,
  stranger,
  TokenBench,
} from '../../../test/harness/token-desk.ts';
import { principalName } from '../../common/base/principal.ts';
import { parseCertificate } from '../../common/identity/certificate.ts';

test('a service with its certificate gets a token that is bound to it and says its role', async () => {
  const bench = new TokenBench();
  const { status, headers, body } = await bench.byCertificate(certificates.ingest, 'ingest');
  assert.equal(status, 200);
  assert.deepEqual(headers, { 'content-type': 'application/json', pragma: 'no-cache' });
  const { access_token: token, ...rest } = body;
  assert.deepEqual(rest, { token_type: 'Bearer', expires_in: 300, scope: 'backend' });
  const { header, claims } = openJwt(String(token), bench.keys.publicKeys);
  assert.deepEqual(header, { alg: 'ES256', typ: 'at+jwt', kid: bench.keys.current.kid });
  const { jti, ...said } = claims;
  const now = Math.floor(bench.clock.now() / 1_000);
  assert.match(String(jti), /^[0-9a-f-]{36}$/);
  assert.deepEqual(said, {
    iss: issuer,
    sub: 'ingest',
    client_id: 'ingest',
    aud: 'https://api.example',
    scope: 'backend',
    iat: now,
    exp: now + 300,
    cnf: { 'x5t#S256': createHash('sha256').update(certificates.ingest).digest('base64url') },
  });
});

test('a service under an authority of the operator’s own gets one too, until that one revokes it', async () => {
  const bench = new TokenBench();
  assert.equal((await bench.byCertificate(certificates.acme, 'acme-billing')).status, 200);
  bench.revokedElsewhere.add(`acme:${parseCertificate(certificates.acme).serialHex}`);
  assertRefused(
    await bench.byCertificate(certificates.acme, 'acme-billing'),
    401,
    'invalid_client',
  );
});

test('a token never outlives the certificate that it was given for', async () => {
  const bench = new TokenBench();
  const notAfter = new Date(Math.floor(bench.clock.now() / 1_000) * 1_000 + 100_000);
  const short = spiffeLeaf('service/ingest', root, notAfter);
  bench.enrol('service/ingest', 'internal', short);
  const { body } = await bench.byCertificate(short, 'ingest');
  const { claims } = openJwt(String(body['access_token']), bench.keys.publicKeys);
  assert.equal(claims['exp'], notAfter.getTime() / 1_000);
  assert.equal(body['expires_in'], Number(claims['exp']) - Number(claims['iat']));
  bench.clock.wallMs += 102_000;
  assertRefused(await bench.byCertificate(short, 'ingest'), 401, 'invalid_client');
});

test('a certificate that a worker passes on is not believed', async () => {
  const bench = new TokenBench();
  const unknown = spiffeLeaf('service/ingest');
  const cases: readonly (readonly [what: string, der: Buffer, clientId: string, error: string])[] =
    [
      [
        'of an authority of the same name',
        spiffeLeaf('service/ingest', stranger),
        'ingest',
        'invalid_client',
      ],
      ['signed by our CA and not on record', unknown, 'ingest', 'invalid_client'],
      ['of another service', certificates.other, 'ingest', 'invalid_client'],
      ['of nobody that is registered', spiffeLeaf('service/nobody'), 'nobody', 'invalid_client'],
      [
        'the CA itself',
        new X509Certificate(readFileSync(root.crt)).raw,
        'ingest',
        'invalid_client',
      ],
      ['garbage', Buffer.from('garbage'), 'ingest', 'invalid_client'],
      ['nothing', Buffer.alloc(0), 'ingest', 'invalid_client'],
      ['17 kB', Buffer.alloc(17 * 1024, 0x30), 'ingest', 'invalid_client'],
      ['of a device', certificates.device, 'd1', 'unauthorized_client'],
      ['of an operator', certificates.operator, 'alice', 'unauthorized_client'],
    ];
  for (const [what, der, clientId, error] of cases) {
    const said = await bench.byCertificate(der, clientId);
    assert.deepEqual(said.body, { error }, what);
  }
  assert.match(bench.lines.join('\n'), /the certificate is too large/, 'before it is read');
  // An authority of the operator's own names somebody whom it does not vouch for.
  bench.enrol('service/acme-thief', 'internal', spiffeLeaf('service/acme-thief'));
  assertRefused(await bench.byCertificate(acmeLeaf('thief'), 'acme-thief'), 401, 'invalid_client');
  const changed = Buffer.from(certificates.ingest);
  changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1;
  assertRefused(await bench.byCertificate(changed, 'ingest'), 401, 'invalid_client');
});

test('who is suspended, revoked or has a revoked certificate gets none', async () => {
  const bench = new TokenBench();
  const ingest = principalName('service', 'ingest');
  bench.registry.changeStanding(ingest, 'suspend');
  assertRefused(
    await bench.byCertificate(certificates.ingest, 'ingest'),
    400,
    'unauthorized_client',
  );
  assertRefused(await bench.byAssertion(bench.assertion()), 400, 'unauthorized_client');
  bench.registry.changeStanding(ingest, 'resume');
  assert.equal((await bench.byCertificate(certificates.ingest, 'ingest')).status, 200);
  bench.registry.changeStanding(ingest, 'revoke');
  assertRefused(await bench.byCertificate(certificates.ingest, 'ingest'), 401, 'invalid_client');
  assertRefused(await bench.byAssertion(bench.assertion()), 400, 'unauthorized_client');
  bench.registry.changeStanding(ingest, 'reinstate');
  assertRefused(await bench.byCertificate(certificates.ingest, 'ingest'), 401, 'invalid_client');
});

test('who is suspended, or given another role, while a token is signed gets none', async () => {
  const bench = new TokenBench();
  const ingest = principalName('service', 'ingest');
  const ask = (): ReturnType<TokenBench['ask']> =>
    bench.byCertificate(certificates.ingest, 'ingest');
  bench.whileSigning = () => void bench.registry.setRole(ingest, 'reader');
  assertRefused(await ask(), 400, 'invalid_scope');
  bench.whileSigning = () => void bench.registry.changeStanding(ingest, 'suspend');
  assertRefused(await ask(), 400, 'unauthorized_client');
});

test('what is not asked for in good order is refused with the word that OAuth has for it', async () => {
  const bench = new TokenBench();
  const { ingest } = certificates;
  const known = { client_id: 'ingest' };
  const cases: readonly (readonly [object, Buffer | undefined, number, string])[] = [
    [{ ...known }, ingest, 400, 'invalid_request'],
    [{ ...known, grant_type: 'password' }, ingest, 400, 'unsupported_grant_type'],
    [{ ...known, grant_type: 'Client_Credentials' }, ingest, 400, 'unsupported_grant_type'],
    [{ ...known, grant_type: 'authorization_code' }, ingest, 400, 'unsupported_grant_type'],
    [clientCredentials, ingest, 400, 'invalid_request'],
    [{ ...clientCredentials, ...known }, undefined, 401, 'invalid_client'],
    [clientCredentials, undefined, 401, 'invalid_client'],
    [{ ...clientCredentials, ...known, client_secret: 'given' }, ingest, 401, 'invalid_client'],
    [{ ...clientCredentials, ...known, scope: 'admin' }, ingest, 400, 'invalid_scope'],
    [{ ...clientCredentials, ...known, scope: 'backend admin' }, ingest, 400, 'invalid_scope'],
    [{ ...clientCredentials, ...known, scope: 'backend  backend' }, ingest, 400, 'invalid_scope'],
    [{ ...clientCredentials, ...known, resource: 'https://x' }, ingest, 400, 'invalid_target'],
  ];
  for (const [parameters, certificate, status, error] of cases) {
    assertRefused(await bench.ask({ ...parameters }, certificate), status, error);
  }
  const fine = { scope: 'backend', resource: 'https://api.example' };
  assert.equal((await bench.byCertificate(ingest, 'ingest', fine)).status, 200);
  assert.equal(bench.desk.counts.get('granted'), 1);
  assert.equal(bench.desk.counts.get('invalid_scope'), 3);
});

test('who authenticates by a header field is told by which', async () => {
  const bench = new TokenBench();
  const parameters = { ...clientCredentials, client_id: 'ingest' };
  const said = await bench.ask(parameters, certificates.ingest, { scheme: 'Basic' });
  assertRefused(said, 401, 'invalid_client');
  assert.equal(said.headers['www-authenticate'], 'Basic realm="sallyport"');
  const other = await bench.byCertificate(certificates.other, 'ingest');
  assert.equal(other.headers['www-authenticate'], undefined);
});

test('a service that asks too often waits, for as long as it is told, and nobody else does', async () => {
  const bench = new TokenBench();
  assert.ok(bench.endpoint !== undefined);
  bench.endpoint = { ...bench.endpoint, perMinute: 3 };
  const ask = async (): Promise<number> =>
    (await bench.byCertificate(certificates.ingest, 'ingest')).status;
  assert.deepEqual([await ask(), await ask(), await ask()], [200, 200, 200]);
  const assertion = bench.assertion();
  const said = await bench.byAssertion(assertion);
  assertRefused(said, 429, 'slow_down');
  assert.equal(said.headers['retry-after'], '20');
  assert.equal((await bench.byCertificate(certificates.other, 'other')).status, 200);
  bench.clock.wallMs += 20_000;
  assert.equal((await bench.byAssertion(assertion)).status, 200, 'it was not used up');
  assert.equal(await ask(), 429);
});

test('on record is the first of a day of each service; a full disk keeps nobody from a token', async () => {
  const bench = new TokenBench();
  await bench.byCertificate(certificates.ingest, 'ingest');
  await bench.byCertificate(certificates.ingest, 'ingest');
  await bench.byCertificate(certificates.other, 'other');
  assert.deepEqual(
    bench.audited.map(({ actor, action }) => [actor, action]),
    [
      ['service/ingest', 'token-granted'],
      ['service/other', 'token-granted'],
    ],
  );
  bench.clock.wallMs += 86_400_000 / 2;
  bench.isAuditFull = true;
  bench.clock.wallMs = Math.ceil(bench.clock.wallMs / 86_400_000) * 86_400_000;
  const fresh = spiffeLeaf('service/ingest', root, new Date(bench.clock.wallMs + 86_400_000));
  bench.enrol('service/ingest', 'internal', fresh);
  assert.equal((await bench.byCertificate(fresh, 'ingest')).status, 200);
  assert.match(bench.lines.join(), /not on record/);
});

test('without an endpoint there is nothing; what is no call is refused', async () => {
  const bench = new TokenBench();
  const parameters = { ...clientCredentials, client_id: 'ingest' };
  const strange: readonly Readonly<Record<string, unknown>>[] = [
    { parameters: undefined },
    { parameters: 'grant_type=client_credentials' },
    { parameters: { grant_type: ['client_credentials'] } },
    { parameters: { client_assertion: 'x'.repeat(20_000) } },
    { parameters: Object.fromEntries(Array.from({ length: 33 }, (_each, n) => [`p${n}`, ''])) },
    { address: 7 },
    { certificate: {} },
    { scheme: 'Basic\r\nSet-Cookie: x' },
  ];
  for (const more of strange) {
    await assert.rejects(bench.ask(parameters, certificates.ingest, more), { code: 'malformed' });
  }
  bench.endpoint = undefined;
  await assert.rejects(bench.byCertificate(certificates.ingest, 'ingest'), { code: 'not-found' });
});

test('a token is verified by whoever has the published keys, across a rotation', async () => {
  const bench = new TokenBench();
  const { body } = await bench.byCertificate(certificates.ingest, 'ingest');
  const token = String(body['access_token']);
  bench.clock.wallMs += 6 * 86_400_000;
  bench.keys.tend();
  bench.clock.wallMs += 86_400_000;
  bench.keys.tend();
  const fresh = spiffeLeaf('service/ingest', root, new Date(bench.clock.wallMs + 86_400_000));
  bench.enrol('service/ingest', 'internal', fresh);
  const later = await bench.byCertificate(fresh, 'ingest');
  const before = openJwt(token, bench.keys.publicKeys);
  const now = openJwt(String(later.body['access_token']), bench.keys.publicKeys);
  assert.notEqual(before.header['kid'], now.header['kid']);
  for (const jwk of bench.keys.publicKeys) {
    assert.equal(createPublicKey({ key: jwk, format: 'jwk' }).type, 'public');
    assert.equal(jwk['d'], undefined);
  }
});
