import assert from 'node:assert/strict';
import { verify } from 'node:crypto';
import { afterEach, beforeEach, test } from 'node:test';
import { fc } from '../../../common/base/property-test-support.ts';
import { temporaryFolder } from '../../../../test/harness/temporary-folder.ts';
import type { TemporaryFolder } from '../../../../test/harness/temporary-folder.ts';
import { SallyportError } from '../../../common/base/errors.ts';
import { oids } from '../../../common/codec/der/oids.ts';
import { DerReader } from '../../../common/codec/der/reader.ts';
import { contextConstructed, contextPrimitive, tag } from '../../../common/codec/der/tag.ts';
import {
  boolean,
  element,
  explicit,
  nullValue,
  octetString,
  oid,
  sequence,
  unsignedInteger,
} from '../../../common/codec/der/writer.ts';
import { readExtensions } from '../../../common/identity/extensions.ts';
import { Revocations } from '../../registry/revocations.ts';
import { openDatabase } from '../../store/database.ts';
import { issuerFacts } from '../issuer.ts';
import type { CertIdHash, StatusIssuer } from '../issuer.ts';
import { recordCertificates, revokeCertificate, testIssuer } from '../test-support.ts';
import type { TestIssuer } from '../test-support.ts';
import { readOcspRequest } from './ocsp-request.ts';
import { OcspResponder } from './responder.ts';

const minuteMs = 60_000;
let folder: TemporaryFolder;
let database: ReturnType<typeof openDatabase>;
let issuer: TestIssuer;
let issuers: StatusIssuer[];
let responder: OcspResponder;
let now = 0;
let signatures = 0;
let signing: (() => Promise<void>) | undefined;
let errors: object[] = [];
const settings = { validityMs: 60 * minuteMs, keptAnswers: 3, signaturesPerSecond: 20 };

beforeEach(async () => {
  now = Date.UTC(2026, 10, 21, 12, 0, 0, 700);
  signatures = 0;
  signing = undefined;
  errors = [];
  folder = temporaryFolder();
  database = openDatabase(folder.at('registry.db'));
  issuer = await testIssuer('Test CA', now, (signer) => ({
    ...signer,
    async sign(data) {
      await signing?.();
      signatures += 1;
      return signer.sign(data);
    },
  }));
  issuers = [issuer];
  responder = new OcspResponder({
    clock: { now: () => now, monotonic: () => now },
    issuers: () => issuers,
    settings: () => settings,
    revocations: new Revocations(database),
    logger: { error: (fields) => errors.push(fields) },
  });
  const notAfter = now + 1_000 * minuteMs;
  recordCertificates(database, issuer.id, [
    { serial: 'a1', notAfter },
    { serial: 'fe', notAfter, revokedAt: now - 5_300, reason: 1 },
    { serial: 'b2', notAfter, revokedAt: now - 5_300 },
    { serial: 'c3', notAfter },
    { serial: 'd4', notAfter },
    { serial: 'e5', notAfter },
  ]);
});
afterEach(() => {
  database.close();
  folder[Symbol.dispose]();
});

interface IdOptions {
  readonly hash?: CertIdHash;
  readonly parameters?: Buffer;
  readonly of?: StatusIssuer;
}

function certId(serial: string, { hash = 'sha1', parameters, of }: IdOptions = {}): Buffer {
  const { nameHash, keyHash } = issuerFacts(of ?? issuer);
  return sequence(
    sequence(oid(oids[hash]), parameters ?? nullValue()),
    octetString(nameHash[hash]),
    octetString(keyHash[hash]),
    unsignedInteger(Buffer.from(serial, 'hex')),
  );
}

const nonceExtension = (value: Buffer): Buffer =>
  explicit(2, sequence(sequence(oid(oids.ocspNonce), octetString(value))));

const requestOf = (ids: readonly Buffer[], ...more: readonly Buffer[]): Buffer =>
  sequence(sequence(sequence(...ids.map((id) => sequence(id))), ...more));

interface ReadAnswer {
  readonly status: number;
  readonly producedAt: number;
  readonly answers: readonly {
    readonly certId: Buffer;
    readonly kind: 'good' | 'revoked' | 'unknown';
    readonly revokedAt: number | undefined;
    readonly reason: number | undefined;
    readonly thisUpdate: number;
    readonly nextUpdate: number;
  }[];
  readonly nonce: Buffer | undefined;
}

/** Everything in it, and the signature. */
function read(der: Buffer, by: StatusIssuer = issuer): ReadAnswer {
  const outer = new DerReader(der);
  const response = outer.sequence();
  outer.end();
  const status = response.expect(tag.enumerated).content[0] ?? -1;
  const body = response.optionalExplicit(0);
  response.end();
  if (body === undefined) return { status, producedAt: 0, answers: [], nonce: undefined };
  const bytes = body.sequence();
  assert.equal(bytes.oid(), oids.ocspBasic);
  const basic = new DerReader(bytes.octetString()).sequence();
  const signed = basic.element();
  basic.element();
  const signature = basic.bitStringOctets();
  basic.end();
  const key = by.certificate.publicKey;
  assert.ok(verify('sha256', signed.raw, { key, dsaEncoding: 'der' }, signature), 'signature');
  const data = new DerReader(signed.content);
  const responderId = data.enter(contextConstructed(2));
  assert.deepEqual(responderId.octetString(), issuerFacts(by).keyHash.sha1);
  assert.equal(data.nextTag, tag.generalizedTime);
  const producedAt = data.time();
  const list = data.sequence();
  const answers: ReadAnswer['answers'][number][] = [];
  while (!list.atEnd) {
    const single = list.sequence();
    const id = single.element().raw;
    const state = single.element();
    const details = new DerReader(state.content);
    const isRevoked = state.tag === contextConstructed(1);
    const revokedAt = isRevoked ? details.time() : undefined;
    const reason = details.optionalExplicit(0)?.expect(tag.enumerated).content[0];
    details.end();
    const kinds = new Map([
      [contextPrimitive(0), 'good'],
      [contextConstructed(1), 'revoked'],
      [contextPrimitive(2), 'unknown'],
    ] as const);
    const thisUpdate = single.time();
    const nextUpdate = single.optionalExplicit(0)?.time() ?? 0;
    single.end();
    const kind = kinds.get(state.tag);
    assert.ok(kind !== undefined);
    answers.push({ certId: id, kind, revokedAt, reason, thisUpdate, nextUpdate });
  }
  const extensions = data.optionalExplicit(1);
  const [nonce] = extensions === undefined ? [] : readExtensions(extensions);
  data.end();
  return { status, producedAt, answers, nonce: nonce?.value };
}

const ask = async (request: Buffer) => {
  const reply = await responder.answer(request);
  return { ...reply, ...read(reply.der) };
};
const kindsOf = ({ answers }: ReadAnswer): string[] => answers.map(({ kind }) => kind);

test('good, revoked with its reason, and unknown, by SHA-1 and SHA-256', async () => {
  for (const hash of ['sha1', 'sha256'] as const) {
    const good = await ask(requestOf([certId('a1', { hash })]));
    assert.equal(good.status, 0);
    assert.deepEqual(kindsOf(good), ['good']);
    assert.deepEqual(good.answers[0]?.certId, certId('a1', { hash }));
    assert.deepEqual(good.serials, ['a1']);
    const revoked = await ask(requestOf([certId('fe', { hash })]));
    const [answer] = revoked.answers;
    assert.deepEqual(
      [answer?.kind, answer?.reason, answer?.revokedAt],
      ['revoked', 1, Math.floor((now - 5_300) / 1_000) * 1_000],
    );
    const unspecified = await ask(requestOf([certId('b2', { hash })]));
    assert.deepEqual(kindsOf(unspecified), ['revoked']);
    assert.equal(unspecified.answers[0]?.reason, undefined);
    const unknown = await ask(requestOf([certId('77', { hash })]));
    assert.deepEqual(kindsOf(unknown), ['unknown']);
    assert.equal(unknown.cacheUntil, undefined);
  }
});

test('the hash without parameters is answered as it was asked', async () => {
  const without = certId('a1', { parameters: Buffer.alloc(0) });
  assert.deepEqual((await ask(requestOf([without]))).answers[0]?.certId, without);
  const withNull = certId('a1');
  assert.deepEqual((await ask(requestOf([withNull]))).answers[0]?.certId, withNull);
  assert.deepEqual((await ask(requestOf([without]))).answers[0]?.certId, without);
});

test('times have whole seconds, and an answer holds as long as it says', async () => {
  const { answers, producedAt, cacheUntil } = await ask(requestOf([certId('a1')]));
  const second = Math.floor(now / 1_000) * 1_000;
  assert.equal(producedAt, second);
  assert.equal(answers[0]?.thisUpdate, second);
  assert.equal(answers[0].nextUpdate, second + settings.validityMs);
  assert.ok(cacheUntil !== undefined && cacheUntil > now && cacheUntil < now + 30 * minuteMs);
});

test('what is asked again is not signed again, until half of its time is over', async () => {
  const request = requestOf([certId('a1')]);
  const first = await ask(request);
  now += 29 * minuteMs;
  const again = await ask(request);
  assert.ok(again.der.equals(first.der));
  assert.equal(signatures, 1);
  now += 2 * minuteMs;
  const renewed = await ask(request);
  assert.equal(signatures, 2);
  assert.ok((renewed.answers[0]?.nextUpdate ?? 0) > (first.answers[0]?.nextUpdate ?? 0));
});

test('many who ask at once for the same cost one signature', async () => {
  const request = requestOf([certId('a1')]);
  const replies = await Promise.all(Array.from({ length: 50 }, () => ask(request)));
  assert.equal(signatures, 1);
  assert.ok(replies.every(({ status }) => status === 0));
});

test('answers are kept for so many certificates, those that were used last', async () => {
  for (const serial of ['a1', 'c3', 'd4']) await ask(requestOf([certId(serial)]));
  await ask(requestOf([certId('a1')]));
  await ask(requestOf([certId('e5')]));
  assert.equal(signatures, 4);
  await ask(requestOf([certId('a1')]));
  assert.equal(signatures, 4);
  await ask(requestOf([certId('c3')]));
  assert.equal(signatures, 5);
});

test('a revocation voids what was said before, also what is being signed', async () => {
  const request = requestOf([certId('a1')]);
  assert.deepEqual(kindsOf(await ask(request)), ['good']);
  const gate = Promise.withResolvers<void>();
  signing = () => gate.promise;
  const pending = ask(requestOf([certId('c3')]));
  for (const serial of ['a1', 'c3']) revokeCertificate(database, serial, now, 4);
  responder.revoked(['a1', 'c3']);
  gate.resolve();
  assert.deepEqual(kindsOf(await pending), ['revoked']);
  assert.deepEqual(kindsOf(await ask(request)), ['revoked']);
  assert.deepEqual(kindsOf(await ask(requestOf([certId('c3')]))), ['revoked']);
});

test('a nonce is repeated, and such an answer is for one request', async () => {
  for (const length of [1, 32, 128]) {
    const value = octetString(Buffer.alloc(length, 7));
    const reply = await ask(requestOf([certId('a1')], nonceExtension(value)));
    assert.equal(reply.status, 0);
    assert.deepEqual(reply.nonce, value);
    assert.equal(reply.cacheUntil, undefined);
  }
  assert.equal(signatures, 3);
  assert.equal((await ask(requestOf([certId('a1')]))).nonce, undefined);
});

test('several certificates are answered in one, those of others as unknown', async () => {
  const other = await testIssuer('Other CA', now);
  const ids = [certId('a1'), certId('a1', { of: other }), certId('fe'), certId('77')];
  const reply = await ask(requestOf(ids));
  assert.deepEqual(kindsOf(reply), ['good', 'unknown', 'revoked', 'unknown']);
  assert.deepEqual(
    reply.answers.map((answer) => answer.certId),
    ids,
  );
});

test('each CA of ours answers for its own, also one that no longer issues', async () => {
  const next = await testIssuer('Next CA', now);
  issuers = [next, issuer];
  assert.deepEqual(kindsOf(await ask(requestOf([certId('fe')]))), ['revoked']);
  const reply = await responder.answer(requestOf([certId('fe', { of: next })]));
  assert.deepEqual(kindsOf(read(reply.der, next)), ['unknown']);
});

test('somebody else’s certificate is unauthorized, and costs no signature (RFC 5019)', async () => {
  const other = await testIssuer('Other CA', now);
  const sha384 = sequence(
    sequence(oid('2.16.840.1.101.3.4.2.2')),
    octetString(Buffer.alloc(48)),
    octetString(Buffer.alloc(48)),
    unsignedInteger(1),
  );
  for (const id of [certId('a1', { of: other }), sha384]) {
    const reply = await responder.answer(requestOf([id]));
    assert.equal(reply.der.toString('hex'), '30030a0106');
    assert.equal(reply.cacheUntil, undefined);
  }
  assert.equal(signatures, 0);
});

const bad = (hex: string): Buffer => Buffer.from(hex, 'hex');
const critical = explicit(
  2,
  sequence(sequence(oid('1.2.3'), boolean(true), octetString(bad('0500')))),
);
const malformed: Readonly<Record<string, () => Buffer>> = {
  empty: () => Buffer.alloc(0),
  garbage: () => Buffer.from('GET / HTTP/1.1\r\n\r\n'),
  'no certificate': () => requestOf([]),
  'too many certificates': () => requestOf(Array.from({ length: 17 }, () => certId('a1'))),
  'something behind it': () => Buffer.concat([requestOf([certId('a1')]), bad('00')]),
  'an empty nonce': () => requestOf([certId('a1')], nonceExtension(octetString(Buffer.alloc(0)))),
  'a nonce of 129 octets': () =>
    requestOf([certId('a1')], nonceExtension(octetString(Buffer.alloc(129)))),
  'a nonce that is no octet string': () => requestOf([certId('a1')], nonceExtension(bad('010203'))),
  'two nonces': () => {
    const nonce = sequence(oid(oids.ocspNonce), octetString(octetString(bad('01'))));
    return requestOf([certId('a1')], explicit(2, sequence(nonce, nonce)));
  },
  'a critical extension': () => requestOf([certId('a1')], critical),
  'a later version': () =>
    sequence(sequence(explicit(0, unsignedInteger(1)), sequence(sequence(certId('a1'))))),
  'a serial number of 22 octets': () => requestOf([certId('7f'.repeat(22))]),
  'a hash with parameters of its own': () =>
    requestOf([certId('a1', { parameters: octetString(Buffer.alloc(200)) })]),
  'a hash of 65 octets': () => {
    const long = octetString(Buffer.alloc(65));
    const id = sequence(sequence(oid(oids.sha1)), long, long, unsignedInteger(1));
    return requestOf([id]);
  },
};
for (const [what, request] of Object.entries(malformed)) {
  test(`malformedRequest, unsigned: ${what}`, async () => {
    const reply = await responder.answer(request());
    assert.equal(reply.der.toString('hex'), '30030a0101');
    assert.equal(signatures, 0);
  });
}

test('zero and negative serial numbers are unknown', async () => {
  for (const hex of ['020100', '0201ff']) {
    const { nameHash, keyHash } = issuerFacts(issuer);
    const hashes = [octetString(nameHash.sha1), octetString(keyHash.sha1)];
    const id = sequence(sequence(oid(oids.sha1), nullValue()), ...hashes, bad(hex));
    assert.deepEqual(kindsOf(await ask(requestOf([id]))), ['unknown']);
  }
});

test('a signed request of somebody is answered like any other', async () => {
  const name = explicit(1, element(contextConstructed(4), sequence()));
  const list = sequence(sequence(certId('a1')));
  const signature = explicit(0, sequence(sequence(oid(oids.ecdsaWithSha256)), bad('030200ff')));
  assert.deepEqual(kindsOf(await ask(sequence(sequence(name, list), signature))), ['good']);
});

test('beyond so many signatures a second it is tryLater; what is kept goes on', async () => {
  await ask(requestOf([certId('a1')]));
  now += 1_000;
  const unknown = requestOf([certId('77')]);
  for (let i = 0; i < settings.signaturesPerSecond; i += 1) {
    assert.equal((await ask(unknown)).status, 0);
  }
  assert.equal((await responder.answer(unknown)).der.toString('hex'), '30030a0103');
  assert.equal(
    (await responder.answer(requestOf([certId('c3')]))).der.toString('hex'),
    '30030a0103',
  );
  assert.equal((await ask(requestOf([certId('a1')]))).status, 0);
  now += 1_000;
  assert.equal((await ask(unknown)).status, 0);
});

test('when the key does not answer, the last answer is given on while it holds', async () => {
  const request = requestOf([certId('a1')]);
  const first = await ask(request);
  signing = () => Promise.reject(new SallyportError('unavailable', 'no token'));
  now += 40 * minuteMs;
  const stretched = await ask(request);
  assert.ok(stretched.der.equals(first.der));
  assert.ok((stretched.cacheUntil ?? 0) <= now + 10_000);
  now += 21 * minuteMs;
  assert.equal((await responder.answer(request)).der.toString('hex'), '30030a0103');
  signing = () => Promise.reject(new SallyportError('no-key', 'gone'));
  assert.equal((await responder.answer(request)).der.toString('hex'), '30030a0102');
  assert.ok(errors.length >= 1);
  signing = undefined;
  assert.equal((await ask(request)).status, 0);
});

test('when the key does not answer, nothing is given on that has been revoked', async () => {
  const request = requestOf([certId('a1')]);
  await ask(request);
  signing = () => Promise.reject(new SallyportError('unavailable', 'no token'));
  revokeCertificate(database, 'a1', now);
  responder.revoked(['a1']);
  assert.equal((await responder.answer(request)).der.toString('hex'), '30030a0103');
});

test('when the key fails while something is revoked, the answer of before is not given on', async () => {
  const request = requestOf([certId('a1')]);
  await ask(request);
  now += 40 * minuteMs;
  const gate = Promise.withResolvers<void>();
  signing = () => gate.promise;
  const pending = responder.answer(request);
  revokeCertificate(database, 'a1', now);
  responder.revoked(['a1']);
  gate.reject(new SallyportError('unavailable', 'no token'));
  assert.equal((await pending).der.toString('hex'), '30030a0103');
});

test('no request but a well-formed one is read, and what is not is malformed', () => {
  const good = requestOf([certId('a1'), certId('fe')], nonceExtension(octetString(bad('0102'))));
  readOcspRequest(good);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.option(fc.nat(good.length)),
      (changes, cut) => {
        const bytes = Buffer.from(good.subarray(0, cut ?? good.length));
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        try {
          const { certificates } = readOcspRequest(bytes);
          assert.ok(certificates.length >= 1);
        } catch (thrown) {
          assert.ok(
            thrown instanceof SallyportError && thrown.code === 'malformed',
            String(thrown),
          );
        }
      },
    ),
    { numRuns: 2_000 },
  );
});

test('after a clock that was ahead, no answer is from a time to come', async () => {
  const right = now;
  now += 24 * 60 * minuteMs;
  await responder.answer(requestOf([certId('a1')]));
  now = right;
  const { der } = await responder.answer(requestOf([certId('a1')]));
  assert.ok((read(der).answers[0]?.thisUpdate ?? Infinity) <= now);
});
