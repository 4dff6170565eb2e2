import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import {
  assertRefused,
  basic,
  bodyOf,
  certificatesIn,
  EstWorld,
  issuedTo,
  newDevice,
} from '../../../test/harness/est-world.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { until } from '../../../test/harness/waiting.ts';

const folder = temporaryFolder();
const start = process.cwd();
before(() => process.chdir(folder.path));
after(() => {
  process.chdir(start);
  folder[Symbol.dispose]();
});

let worlds = 0;
function openWorld(): Promise<EstWorld> {
  worlds += 1;
  return EstWorld.open(folder.at(`${worlds}.db`));
}

describe('by token', () => {
  test('a device enrols, the workers know before it has the answer, and it is on record', async () => {
    const world = await openWorld();
    const d1 = newDevice('d1');
    const secret = world.token('d1');
    const certificate = issuedTo(await world.enrolBy(secret, d1), d1);
    assert.deepEqual(world.published, ['device/d1']);
    const [line] = world.audit;
    assert.deepEqual([line?.actor, line?.action, line?.target], ['token:1', 'enrol', 'device/d1']);
    assert.equal(JSON.stringify(world.audit).includes(secret), false);
    assert.equal(world.tally.counts.get('issued'), 1);

    const cas = certificatesIn(await world.ask({ operation: 'cacerts', method: 'GET' }));
    const issuer = cas.find((ca) => certificate.checkIssued(ca));
    assert.ok(issuer !== undefined && certificate.verify(issuer.publicKey));
    assert.ok(
      cas.some((ca) => ca.checkIssued(ca) && issuer.verify(ca.publicKey)),
      'and the root',
    );
  });

  const spellings: Readonly<Record<string, (token: string) => string>> = {
    'Basic without a user': (token) => basic(token),
    'Basic with some user': (token) => basic(token, 'estuser'),
    'basic in lower case': (token) => basic(token).replace('Basic', 'basic'),
    Bearer: (token) => `Bearer ${token}`,
  };
  for (const [what, authorization] of Object.entries(spellings)) {
    test(`a token is taken as ${what}`, async () => {
      const world = await openWorld();
      const d1 = newDevice('d1');
      const fields = { authorization: authorization(world.token('d1')), body: bodyOf(d1.csr) };
      issuedTo(await world.ask(fields), d1);
    });
  }

  test('a token for new devices enrols as many as it has uses, each by the name in its request', async () => {
    const world = await openWorld();
    const secret = world.token(undefined, 2);
    for (const id of ['d1', 'd2']) {
      const device = newDevice(id);
      issuedTo(await world.enrolBy(secret, device), device);
    }
    assertRefused(await world.enrolBy(secret, newDevice('d3')), 401, 'unauthenticated');
    assert.equal(world.certificatesIssued('d3'), 0);
  });

  test('a token that names a device gives it another certificate, with another key', async () => {
    const world = await openWorld();
    await world.enrolBy(world.token(), newDevice('d1'));
    const again = newDevice('d1');
    issuedTo(await world.enrolBy(world.token('d1'), again), again);
    assert.equal(world.certificatesIssued('d1'), 2);
  });

  test('many at once with a token of one use get one certificate', async () => {
    const world = await openWorld();
    const secret = world.token();
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        world.enrolBy(secret, newDevice(`d${n}`), `10.0.0.${n}`),
      ),
    );
    assert.equal(replies.filter(({ status }) => status === 200).length, 1);
    assert.equal(replies.filter(({ status }) => status === 401).length, 19);
    assert.equal(world.registry.count().device, 1);
  });

  test('a worker that does not answer costs nobody his certificate', async () => {
    const world = await openWorld();
    const d1 = newDevice('d1');
    world.known = new Promise(() => {});
    const answer = world.enrolBy(world.token('d1'), d1);
    await until('it waits for the workers', 5_000, () => world.timers.size === 1);
    for (const ring of world.timers) ring();
    issuedTo(await answer, d1);
    assert.equal(world.timers.size, 0);
  });

  test('what cannot be put on record is not issued, and costs no use', async () => {
    const world = await openWorld();
    const d1 = newDevice('d1');
    const secret = world.token('d1');
    world.isDiskFull = true;
    const reply = await world.enrolBy(secret, d1);
    assertRefused(reply, 503, 'unavailable');
    assert.ok(Number(reply.headers['retry-after']) > 0);
    assert.equal(world.certificatesIssued('d1'), 0);
    assert.deepEqual(world.published, []);
    world.isDiskFull = false;
    issuedTo(await world.enrolBy(secret, d1), d1);
  });

  test('a refused request costs no use', async () => {
    const world = await openWorld();
    const secret = world.token('d1');
    const twisted = newDevice('d1');
    twisted.csr[twisted.csr.length - 1] = (twisted.csr.at(-1) ?? 0) ^ 1;
    assertRefused(await world.enrolBy(secret, twisted), 400, 'invalid-csr');
    const d1 = newDevice('d1');
    issuedTo(await world.enrolBy(secret, d1), d1);
  });
});

describe('what is asked', () => {
  test('whoever shows nothing is asked for a token, and that is no line of the audit log', async () => {
    const world = await openWorld();
    const reply = await world.ask({ body: bodyOf(newDevice('d1').csr) });
    assertRefused(reply, 401, 'unauthenticated');
    assert.match(reply.headers['www-authenticate'] ?? '', /^Basic realm=/);
    assert.match(reply.body, /token/);
    assert.deepEqual(world.audit, []);
    assert.equal(world.tally.counts.get('unauthenticated'), 1);
  });

  const asked: Readonly<Record<string, readonly [Record<string, unknown>, number]>> = {
    'csrattrs with POST': [{ operation: 'csrattrs' }, 405],
    'cacerts with POST': [{ operation: 'cacerts' }, 405],
    'simpleenroll with GET': [{ method: 'GET' }, 405],
    'simplereenroll with PUT': [{ operation: 'simplereenroll', method: 'PUT' }, 405],
    serverkeygen: [{ operation: 'serverkeygen' }, 501],
    fullcmc: [{ operation: 'fullcmc' }, 501],
    'an operation of nobody': [{ operation: 'revoke' }, 404],
    'a name of the prototype': [{ operation: 'constructor' }, 404],
    'a label': [{ operation: 'cacerts', method: 'GET', label: 'ca2' }, 404],
    'another type': [{ contentType: 'application/json' }, 415],
    'no type': [{ contentType: undefined }, 415],
    'a type with parameters': [{ contentType: 'Application/PKCS10; charset=x' }, 401],
    'a number for a text': [{ body: 7 }, 400],
    'an object for a text': [{ authorization: { toString: 'x' } }, 400],
    'a body of a megabyte': [{ body: 'A'.repeat(1_400_000) }, 413],
  };
  for (const [what, [fields, status]] of Object.entries(asked)) {
    test(`${what}: ${status}`, async () => {
      const world = await openWorld();
      assert.equal((await world.ask(fields)).status, status);
    });
  }

  const bodies: Readonly<Record<string, (csr: Buffer) => Buffer | string>> = {
    nothing: () => '',
    DER: (csr) => csr,
    'base64 with a letter too much': (csr) => `${csr.toString('base64')}A`,
    base64url: (csr) => `_${csr.toString('base64url').slice(1)}`,
    'two requests': (csr) => Buffer.concat([csr, csr]).toString('base64'),
    'half a request': (csr) => csr.subarray(0, csr.length / 2).toString('base64'),
    'a body with a NUL': (csr) => `${csr.toString('base64')}\0`,
  };
  for (const [what, make] of Object.entries(bodies)) {
    test(`${what} for a request: 400, and the token is as good as before`, async () => {
      const world = await openWorld();
      const d1 = newDevice('d1');
      const secret = world.token('d1');
      const body = Buffer.from(make(d1.csr) as string).toString('base64'); // either; the overloads do not take the union
      const authorization = basic(secret);
      assertRefused(await world.ask({ authorization, body }), 400, 'invalid-csr');
      issuedTo(await world.enrolBy(secret, d1), d1);
    });
  }

  test('base64 may be in lines, with any white space (RFC 8951)', async () => {
    const world = await openWorld();
    const d1 = newDevice('d1');
    const lines = d1.csr.toString('base64').replaceAll(/.{60}/g, '$& \t\r\n');
    const fields = { authorization: basic(world.token('d1')), body: btoa(`\n${lines}\r\n`) };
    issuedTo(await world.ask(fields), d1);
  });

  test('csrattrs says which key to make, in DER that openssl reads', async () => {
    const world = await openWorld();
    const reply = await world.ask({ operation: 'csrattrs', method: 'GET' });
    assert.equal(reply.headers['content-type'], 'application/csrattrs');
    const der = execFileSync('openssl', ['base64', '-d', '-A'], { input: reply.body });
    const text = execFileSync('openssl', ['asn1parse', '-inform', 'DER'], {
      input: der,
    }).toString();
    assert.match(text, /id-ecPublicKey[\s\S]*prime256v1[\s\S]*ecdsa-with-SHA256/);
    assert.match(
      text,
      /OBJECT +:2\.25\.147624343048509412628783851813792797123\n.*\n.*INTEGER +:3C\n/,
    );
  });

  test('whatever a worker hands over, the answer is one, and without a credential it is no certificate', async () => {
    const world = await openWorld();
    world.settings = { ...world.settings, tokenFailures: 10_000 };
    const body = bodyOf(newDevice('d1').csr);
    const odd = fc.oneof(fc.string(), fc.anything(), fc.constant(body), fc.constant(undefined));
    await fc.assert(
      fc.asyncProperty(
        fc.record(
          {
            operation: fc.oneof(fc.constantFrom('simpleenroll', 'simplereenroll'), odd),
            method: fc.oneof(fc.constant('POST'), odd),
            label: odd,
            address: odd,
            certificate: odd,
            authorization: fc.oneof(
              fc.string().map((each) => `Basic ${each}`),
              odd,
            ),
            contentType: fc.oneof(fc.constant('application/pkcs10'), odd),
            body: odd,
          },
          { requiredKeys: [] },
        ),
        async (fields) => {
          const { status } = await world.ask(fields);
          assert.ok(status >= 400 && status < 502, String(status));
        },
      ),
      { numRuns: 300 },
    );
    assert.equal(world.registry.count().device, 0);
  });
});
