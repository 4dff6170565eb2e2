import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { after, beforeEach, test } from 'node:test';
import {
  authorityFor,
  CountedGrant,
  dayMs,
  IssuanceBench,
  keyHash,
  newKey,
  StoppedClock,
} from '../../../test/harness/issuance.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { principalName } from '../../common/base/principal.ts';
import { revocationReasons } from '../../common/base/revocation-reason.ts';
import type { Claim } from './claim.ts';
import { Invitations } from './invitations.ts';
import { writeCertificationRequest } from './write-request.ts';

const folder = temporaryFolder();
const start = process.cwd();
process.chdir(folder.path);
after(() => {
  process.chdir(start);
  folder[Symbol.dispose]();
});

const clock = new StoppedClock();
const authority = await authorityFor(clock);
const startMs = clock.wallMs;
let bench: IssuanceBench;

beforeEach(() => {
  clock.wallMs = startMs;
  bench = new IssuanceBench(authority, clock);
});

const d1 = principalName('device', 'd1');
const d2 = principalName('device', 'd2');
const operator = (name = d1): Claim => ({ right: 'operator', name, role: 'device' });

/** That nothing came of it. */
async function refuses(attempt: Promise<unknown>, code: string, message?: RegExp): Promise<void> {
  const { recorded, registry, grant } = bench;
  const before = registry.certificatesOf(d1).length + registry.certificatesOf(d2).length;
  const { used } = grant;
  await assert.rejects(attempt, (thrown) => {
    assert.ok(thrown instanceof SallyportError, String(thrown));
    assert.equal(thrown.code, code, thrown.message);
    if (message !== undefined) assert.match(thrown.message, message);
    return true;
  });
  assert.equal(registry.certificatesOf(d1).length + registry.certificatesOf(d2).length, before);
  assert.equal(bench.recorded, recorded, 'put on record');
  assert.equal(grant.used, used, 'used up');
}

test('what is issued is a chain that openssl verifies, for the key of the request', async () => {
  const key = newKey();
  const { certificate, change } = await bench.issue(operator(), key);
  writeFileSync('root.crt', authority.rootPem);
  writeFileSync('chain.crt', certificate.certificateChain);
  const files = ['-CAfile', 'root.crt', '-untrusted', 'chain.crt', 'chain.crt'];
  const verdict = execFileSync('openssl', ['verify', ...files]).toString();
  assert.equal(verdict.trim(), 'chain.crt: OK');
  assert.ok(new X509Certificate(certificate.der).checkPrivateKey(key));
  assert.equal(change.created, true);
  assert.equal(bench.registry.certificatesOf(d1)[0]?.serial, certificate.serial);
});

test('what cannot be put on record is not issued', async () => {
  const fail = (): never => {
    throw new SallyportError('io', 'the disk is full');
  };
  bench.record = fail;
  await assert.rejects(bench.issue(operator(), newKey()), { code: 'io' });
  await assert.rejects(bench.issuance.createLabIdentity(d1, 'device', fail), { code: 'io' });
  assert.equal(bench.registry.get(d1), undefined);
});

test('another device’s key is refused, even when its owner asks', async () => {
  const key = newKey();
  await bench.issue(operator(d1), key);
  await refuses(bench.issue(operator(d2), key), 'already-exists', /device\/d1 holds this key/);
});

test('a revoked id enrols only after it was reinstated', async () => {
  const key = newKey();
  await bench.issue(operator(), key);
  bench.registry.changeStanding(d1, 'revoke');
  await refuses(bench.issue(operator(), key), 'wrong-standing');
  bench.registry.changeStanding(d1, 'reinstate');
  await bench.issue(operator(), key);
});

test('a key that was revoked as compromised is certified for nobody again', async () => {
  const key = newKey();
  await bench.issue(operator(), key);
  bench.registry.changeStanding(d1, 'revoke', 'stolen', revocationReasons.keyCompromise);
  bench.registry.changeStanding(d1, 'reinstate');
  await refuses(bench.issue(operator(), key), 'already-exists', /key compromise/);
  await bench.issue(operator(), newKey());
});

test('a laboratory identity has a key that fits and passes the same registry', async () => {
  const be = principalName('service', 'be');
  const create = (role: string) =>
    bench.issuance.createLabIdentity(be, role, (certificate) => bench.record(certificate));
  const made = await create('backend');
  const leaf = new X509Certificate(made.certificate.certificateChain);
  assert.ok(leaf.checkPrivateKey(createPrivateKey(made.privateKey)));
  assert.equal(bench.registry.get(be)?.role, 'backend');
  await refuses(create('other'), 'already-exists');
  bench.registry.changeStanding(be, 'revoke');
  await refuses(create('backend'), 'wrong-standing');
});

test('assessing says what issuing would, and issues nothing', async () => {
  const { issuance, registry } = bench;
  issuance.assess(operator(), writeCertificationRequest(d1, newKey()));
  assert.equal(registry.get(d1), undefined);
  assert.equal(bench.signed, 0);
  await bench.issue(operator(), newKey());
  registry.changeStanding(d1, 'suspend');
  const again = writeCertificationRequest(d1, newKey());
  assert.throws(() => issuance.assess(operator(), again), { code: 'wrong-standing' });
});

for (const [right, kinds] of [
  ['invitation', ['device', 'service']],
  ['token', ['service', 'operator']],
  ['approval', ['service', 'operator']],
  ['manufacturer', ['service', 'operator']],
  ['renewal', ['operator']],
] as const) {
  for (const kind of kinds) {
    test(`no ${kind} comes by ${right}`, async () => {
      const key = newKey();
      const name = principalName(kind, 'd1');
      const { certificate } = await bench.issue({ right: 'operator', name, role: kind }, key);
      const claim = { ...bench.claims(key, Buffer.from(certificate.der))[right], name } as Claim; // the right stays what it was
      await refuses(bench.issue(claim, key), 'forbidden', new RegExp(`no ${kind}`));
    });
  }
}

test('a token for any device makes new ones only; one that names a device brings it back', async () => {
  const token = (named: boolean): Claim => ({
    right: 'token',
    name: d1,
    role: 'device',
    named,
    grant: bench.grant,
  });
  bench.grant.left = 2;
  await bench.issue(token(false), newKey());
  await refuses(bench.issue(token(false), newKey()), 'forbidden', /exists/);
  await bench.issue(token(true), newKey());
  await refuses(bench.issue(token(true), newKey()), 'unauthenticated');
});

test('a manufacturer names new devices, and those that came by the same certificate', async () => {
  const claim = bench.claims(newKey(), Buffer.alloc(1)).manufacturer;
  bench.manufactured = undefined;
  await refuses(bench.issue(claim, newKey()), 'unauthenticated');
  bench.manufactured = { name: d2, again: true };
  await refuses(bench.issue(claim, newKey()), 'forbidden', /that of device\/d2/);
  bench.manufactured = { name: d1, again: false };
  await bench.issue(claim, newKey());
  await refuses(bench.issue(claim, newKey()), 'forbidden', /exists/);
  bench.manufactured = { name: d1, again: true };
  await bench.issue(claim, newKey());
});

test('an approval is for one key, and reaches no further than what was approved', async () => {
  const key = newKey();
  const grant = new CountedGrant(9);
  const of = { right: 'token', name: d1, role: 'device', named: false, grant } as const;
  const claim: Claim = {
    right: 'approval',
    name: d1,
    role: 'device',
    of,
    spkiSha256: keyHash(key),
    grant,
  };
  await refuses(bench.issue(claim, newKey()), 'forbidden', /another key/);
  await refuses(bench.issue({ ...claim, name: d2 }, key), 'forbidden', /another name/);
  await bench.issue(claim, key);
  await refuses(bench.issue(claim, key), 'forbidden', /exists/);
});

const lifeMs = 365 * dayMs;

/** `device/d1` with a certificate, and the claim to renew it. */
async function renewable(): Promise<Claim & { right: 'renewal' }> {
  const { certificate } = await bench.issue(operator(), newKey());
  return { right: 'renewal', name: d1, certificate: Buffer.from(certificate.der) };
}

test('a certificate is renewed in its window, by its own identity, as often as is sane', async () => {
  const claim = await renewable();
  await refuses(bench.issue(claim, newKey()), 'forbidden', /can be renewed from 20\d\d-/);
  clock.wallMs = startMs + lifeMs - 30 * dayMs - 1_000;
  await refuses(bench.issue(claim, newKey()), 'forbidden');
  clock.wallMs = startMs + lifeMs - 30 * dayMs;
  for (let n = 0; n < 5; n += 1) await bench.issue(claim, newKey());
  await refuses(bench.issue(claim, newKey()), 'rate');
  clock.wallMs += dayMs + 1;
  await bench.issue(claim, newKey());
  await refuses(bench.issue({ ...claim, name: d2 }, newKey()), 'forbidden', /no device\/d2/);
  await bench.issue(operator(d2), newKey());
  await refuses(bench.issue({ ...claim, name: d2 }, newKey()), 'forbidden', /that of device\/d1/);
});

test('a certificate that has expired is renewed for as long as grace lasts', async () => {
  const claim = await renewable();
  const { notAfter = 0 } = bench.registry.certificatesOf(d1)[0] ?? {};
  clock.wallMs = notAfter + 1_000;
  await refuses(bench.issue(claim, newKey()), 'unauthenticated', /expired/);
  bench.renewal = { ...bench.renewal, graceMs: 7 * dayMs };
  await bench.issue(claim, newKey());
  clock.wallMs = notAfter + 1_000 + 7 * dayMs;
  await refuses(bench.issue(claim, newKey()), 'unauthenticated', /expired/);
});

test('only the certificate that is on record and good renews', async () => {
  const claim = await renewable();
  clock.wallMs = startMs + lifeMs - 10 * dayMs;
  const { der } = await authority.issue(d1, requestKey());
  await refuses(
    bench.issue({ ...claim, certificate: Buffer.from(der) }, newKey()),
    'unauthenticated',
    /not on record/,
  );
  const self = execFileSync('openssl', selfSigned, { stdio: ['ignore', 'pipe', 'ignore'] });
  await refuses(bench.issue({ ...claim, certificate: self }, newKey()), 'invalid-certificate');
  await refuses(
    bench.issue({ ...claim, certificate: Buffer.from('x') }, newKey()),
    'invalid-certificate',
  );
  bench.registry.changeStanding(d1, 'revoke');
  bench.registry.changeStanding(d1, 'reinstate');
  await refuses(bench.issue(claim, newKey()), 'unauthenticated', /revoked/);
});

const selfSigned =
  'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null -subj /CN=d1 -outform DER'.split(
    ' ',
  );

function requestKey(): Buffer {
  return new X509Certificate(authority.rootPem).publicKey.export({ type: 'spki', format: 'der' });
}

test('what happens while a certificate is being signed counts', async (t) => {
  await t.test('the identity is revoked', async () => {
    await bench.issue(operator(), newKey());
    bench.whileSigning = () => void bench.registry.changeStanding(d1, 'revoke');
    await refuses(bench.issue(operator(), newKey()), 'wrong-standing');
  });
  bench = new IssuanceBench(authority, clock);
  await t.test('somebody else registers the key', async () => {
    const key = newKey();
    const { certificate } = await bench.issue(operator(d2), newKey());
    bench.whileSigning = () => {
      bench.registry.enrol(d2, 'device', 'internal', {
        ...certificate,
        serial: 'abc',
        spkiSha256: keyHash(key),
      });
    };
    await assert.rejects(bench.issue(operator(), key), { code: 'already-exists' });
    assert.equal(bench.registry.get(d1), undefined);
  });
  bench = new IssuanceBench(authority, clock);
  await t.test('the token is used', async () => {
    const claim = bench.claims(newKey(), Buffer.alloc(0)).token;
    bench.whileSigning = () => {
      bench.grant.left = 0;
    };
    await refuses(bench.issue(claim, newKey()), 'unauthenticated');
  });
  bench = new IssuanceBench(authority, clock);
  await t.test('the device of a token for any comes to be', async () => {
    const claim = { ...bench.claims(newKey(), Buffer.alloc(0)).token, named: false } as Claim; // of a token
    bench.whileSigning = () => {
      bench.whileSigning = () => {};
      bench.registry.enrol(d1, 'device', 'internal', {
        serial: 'abc',
        spkiSha256: 'ff',
        notBefore: 0,
        notAfter: 1,
        der: Buffer.alloc(1),
      });
    };
    await assert.rejects(bench.issue(claim, newKey()), { code: 'forbidden' });
    assert.equal(bench.grant.used, 0);
    assert.equal(bench.registry.certificatesOf(d1).length, 1);
  });
  bench = new IssuanceBench(authority, clock);
  await t.test('the grace ends', async () => {
    const claim = await renewable();
    clock.wallMs = (bench.registry.certificatesOf(d1)[0]?.notAfter ?? 0) + 999;
    bench.whileSigning = () => {
      clock.wallMs += 1;
    };
    await refuses(bench.issue(claim, newKey()), 'unauthenticated', /expired/);
  });
  bench = new IssuanceBench(authority, clock);
  await t.test('who asked changes what he asked with', async () => {
    const claim = { ...operator() };
    bench.whileSigning = () => void Object.assign(claim, { name: d2, role: 'backend' });
    await bench.issue(claim, newKey());
    assert.equal(bench.registry.get(d1)?.role, 'device');
    assert.equal(bench.registry.get(d2), undefined);
  });
});

test('what was used for a certificate that cannot be registered is good again', async () => {
  const invitations = new Invitations(bench.database, clock);
  const admin = principalName('operator', 'admin');
  const { token } = invitations.invite(admin, dayMs);
  const grant = {
    holds: () => invitations.find(token) === admin,
    use: () => invitations.use(token),
  };
  const claim: Claim = { right: 'invitation', name: admin, role: 'operator', grant };
  // The last thing that can go wrong: another certificate has this serial number.
  bench.whileSigning = (certificate) => {
    bench.registry.enrol(d2, 'device', 'internal', { ...certificate, spkiSha256: 'ff' });
  };
  await assert.rejects(bench.issue(claim, newKey()), { code: 'already-exists' });
  assert.equal(bench.registry.get(admin), undefined);
  assert.equal(invitations.find(token), admin);
  bench.whileSigning = () => {};
  await bench.issue(claim, newKey());
  assert.equal(invitations.find(token), undefined);
});

test('two at once with a token for one: one gets in', async () => {
  const claim = { ...bench.claims(newKey(), Buffer.alloc(0)).token, named: true } as Claim; // of a token
  const answers = await Promise.allSettled([1, 2, 3].map(() => bench.issue(claim, newKey())));
  assert.deepEqual(answers.map(({ status }) => status).toSorted(), [
    'fulfilled',
    'rejected',
    'rejected',
  ]);
  assert.equal(bench.registry.certificatesOf(d1).length, 1);
  assert.equal(bench.grant.used, 1);
});
