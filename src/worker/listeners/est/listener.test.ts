import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { EstSurroundings, estAnswer, estRequest } from '../../../../test/harness/est-listener.ts';
import { problemCode } from '../../../../test/harness/https-answer.ts';
import { authority, identityOf } from '../../../../test/harness/https-listener.ts';
import { issueLeaf, makeAuthority } from '../../../../test/harness/openssl.ts';
import { temporaryFolder } from '../../../../test/harness/temporary-folder.ts';
import { until } from '../../../../test/harness/waiting.ts';
import { SallyportError } from '../../../common/base/errors.ts';

const dayMs = 86_400_000;

test('a request is carried to control as it came, and its answer back', async (t) => {
  const surroundings = await EstSurroundings.of(t);
  surroundings.answer = () =>
    estAnswer(200, 'a certificate', {
      'content-type': 'application/pkcs7-mime; smime-type=certs-only',
      'content-transfer-encoding': 'base64',
    });
  const raw = await surroundings.raw(t);
  raw.send(
    estRequest(
      'simpleenroll',
      'TUlJ\r\nQg==',
      'Content-Type: application/pkcs10',
      'Content-Transfer-Encoding: base64',
      'Authorization: Basic OnNlY3JldA==',
    ),
  );
  const answer = await raw.answer();
  assert.equal(answer.status, 200);
  assert.equal(answer.body.toString(), 'a certificate');
  assert.deepEqual(answer.lines.slice(0, 5), [
    ['Content-Type', 'application/pkcs7-mime; smime-type=certs-only'],
    ['Content-Transfer-Encoding', 'base64'],
    ['Content-Length', '13'],
    ['Cache-Control', 'no-store'],
    ['X-Content-Type-Options', 'nosniff'],
  ]);
  assert.deepEqual(surroundings.calls, [
    {
      what: 'est',
      operation: 'simpleenroll',
      label: undefined,
      method: 'POST',
      address: raw.address.split(':')[0],
      certificate: undefined,
      authorization: 'Basic OnNlY3JldA==',
      contentType: 'application/pkcs10',
      body: Buffer.from('TUlJ\r\nQg==').toString('base64'),
    },
  ]);
  assert.doesNotMatch(JSON.stringify(surroundings.lines), /OnNlY3JldA|secret/);
});

test('a chunked body is one, and who waits to be told may go on is told', async (t) => {
  const surroundings = await EstSurroundings.of(t);
  const chunked = await surroundings.raw(t);
  const head = 'POST /.well-known/est/factory/simplereenroll HTTP/1.1\r\nHost: x\r\n';
  chunked.send(`${head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n`);
  assert.equal((await chunked.answer()).status, 200);
  const waiting = await surroundings.raw(t);
  waiting.send(`${head}Content-Length: 2\r\nExpect: 100-continue\r\n\r\n`);
  assert.equal((await waiting.answer()).status, 100);
  waiting.send('fg');
  assert.equal((await waiting.answer()).status, 200);
  assert.deepEqual(
    surroundings.calls.map(({ label, operation, body = '' }) => [
      label,
      operation,
      Buffer.from(body, 'base64').toString(),
    ]),
    [
      ['factory', 'simplereenroll', 'abcde'],
      ['factory', 'simplereenroll', 'fg'],
    ],
  );
});

for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`any certificate whose key is proven is handed over, ${maxVersion}`, async (t) => {
    using folder = temporaryFolder();
    const strange = makeAuthority(folder.at('strange'), 'Manufacturer');
    const expired = issueLeaf(authority, folder.at('expired'), 'd9', authority.crt, {
      subject: '/CN=d9',
      notBefore: new Date(Date.now() - 2 * dayMs),
      notAfter: new Date(Date.now() - dayMs),
    });
    const unknown = issueLeaf(strange, folder.at('unknown'), 'sn-1', authority.crt, {
      subject: '/CN=sn-1/serialNumber=1',
    });
    const selfSigned = { id: 'self', ...strange, ca: authority.crt };
    const surroundings = await EstSurroundings.of(t);
    surroundings.answer = () => estAnswer(403, 'forbidden: not you.\n');
    for (const identity of [identityOf('d1'), expired, unknown, selfSigned]) {
      const raw = await surroundings.raw(t, identity, { maxVersion });
      raw.send(estRequest('simplereenroll', 'x'));
      const answer = await raw.answer();
      assert.equal(answer.status, 403, identity.id);
      assert.equal(answer.body.toString(), 'forbidden: not you.\n');
      const { raw: der } = new X509Certificate(readFileSync(identity.crt));
      assert.equal(surroundings.calls.at(-1)?.certificate, der.toString('base64'), identity.id);
    }
  });

  test(`the key is proven anew by each connection, ${maxVersion}`, async (t) => {
    const surroundings = await EstSurroundings.of(t);
    const identity = identityOf('d1');
    const first = await surroundings.raw(t, identity, { maxVersion });
    const session = new Promise<Buffer>((resolve) => void first.socket.once('session', resolve));
    first.send(estRequest('simplereenroll', 'x'));
    await first.answer();
    const offered = maxVersion === 'TLSv1.2' ? first.socket.getSession() : await session;
    assert.ok(offered !== undefined);
    const second = await surroundings.raw(t, identity, { maxVersion, session: offered });
    assert.equal(second.resumed, false);
    second.send(estRequest('simplereenroll', 'x'));
    await second.answer();
    assert.equal(surroundings.calls[1]?.certificate, surroundings.calls[0]?.certificate);
  });
}

test('the CA certificates and attributes are asked for once a minute, and for nobody', async (t) => {
  const surroundings = await EstSurroundings.of(t);
  surroundings.answer = ({ operation }) =>
    operation === 'csrattrs' ? estAnswer(204) : estAnswer(200, operation);
  for (const operation of ['cacerts', 'csrattrs', 'cacerts', 'csrattrs', 'factory/cacerts']) {
    const raw = await surroundings.raw(t, identityOf('d1'));
    raw.send(estRequest(operation, undefined, 'Authorization: Bearer abc'));
    const answer = await raw.answer();
    assert.equal(answer.status, operation === 'csrattrs' ? 204 : 200);
    assert.equal(answer.headers.has('content-length'), answer.status === 200);
  }
  assert.deepEqual(
    surroundings.calls.map(({ label, operation, certificate, authorization }) => [
      label,
      operation,
      certificate,
      authorization,
    ]),
    [
      [undefined, 'cacerts', undefined, undefined],
      [undefined, 'csrattrs', undefined, undefined],
      ['factory', 'cacerts', undefined, undefined],
    ],
  );
});

const refusedRequests = [
  ['GET', '/.well-known/est/simpleenroll', 405, 'not-found'],
  ['POST', '/.well-known/est/cacerts', 405, 'not-found'],
  ['HEAD', '/.well-known/est/cacerts', 405, undefined],
  ['POST', '/.well-known/est/serverkeygen', 501, 'not-found'],
  ['POST', '/.well-known/est/fullcmc', 501, 'not-found'],
  ['GET', '/.well-known/est', 404, 'not-found'],
  ['GET', '/.well-known/est/', 404, 'not-found'],
  ['GET', '/.well-known/est/eecerts', 404, 'not-found'],
  ['GET', '/.well-known/est/__proto__', 404, 'not-found'],
  ['GET', '/.well-known/est/constructor', 404, 'not-found'],
  ['GET', '/.well-known/est/a/b/cacerts', 404, 'not-found'],
  ['GET', '/.well-known/est//cacerts', 404, 'not-found'],
  ['GET', '/.well-known/est/simpleenroll/cacerts', 404, 'not-found'],
  ['GET', '/.well-known/est/cacerts/', 404, 'not-found'],
  ['GET', '/.well-known/est/%63acerts', 404, 'not-found'],
  ['GET', '/.WELL-KNOWN/est/cacerts', 404, 'not-found'],
  ['GET', '/.well-known/est/x/../cacerts', 404, 'not-found'],
  ['GET', '/', 404, 'not-found'],
  ['GET', '/api/v1/time', 404, 'not-found'],
  ['GET', '/.well-known/est/cacerts?a=b', 400, 'malformed'],
  ['POST', '/.well-known/est/simpleenroll', 400, 'malformed'],
] as const;

test('what is nothing of EST is refused without asking control', async (t) => {
  const surroundings = await EstSurroundings.of(t);
  for (const [method, path, status, code] of refusedRequests) {
    const raw = await surroundings.raw(t);
    raw.send(`${method} ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n`);
    const answer = await raw.answer(method);
    const told = method === 'HEAD' ? undefined : problemCode(answer);
    assert.deepEqual([answer.status, told], [status, code], `${method} ${path}`);
  }
  for (const lines of ['Content-Encoding: gzip', 'Expect: magic']) {
    const raw = await surroundings.raw(t);
    raw.send(estRequest('simpleenroll', 'x', lines));
    assert.ok([415, 417].includes((await raw.answer()).status), lines);
  }
  assert.deepEqual(surroundings.calls, []);
});

test('control that cannot answer is a readable refusal', async (t) => {
  const surroundings = await EstSurroundings.of(t);
  for (const [thrown, status, code] of [
    [new SallyportError('unavailable', 'control is down'), 503, 'unavailable'],
    [new SallyportError('busy', 'too many'), 503, 'busy'],
    [new SallyportError('rate', 'too many'), 429, 'rate'],
    [new SallyportError('internal', 'a secret of control'), 503, 'unavailable'],
    [new SallyportError('no-key', 'a secret of control'), 503, 'unavailable'],
  ] as const) {
    surroundings.answer = () => {
      throw thrown;
    };
    for (const request of [estRequest('simpleenroll', 'x'), estRequest('cacerts')]) {
      const raw = await surroundings.raw(t);
      raw.send(request);
      const answer = await raw.answer();
      assert.deepEqual([answer.status, problemCode(answer)], [status, code]);
      assert.ok(answer.headers.has('retry-after'));
      assert.doesNotMatch(answer.body.toString(), /control/);
    }
  }
});

test('an answer of control that is none is not handed on', async (t) => {
  const surroundings = await EstSurroundings.of(t);
  const good = estAnswer(200, 'x');
  for (const answer of [
    undefined,
    null,
    [],
    { ...good, status: 199 },
    { ...good, status: 600 },
    { ...good, status: '200' },
    { ...good, headers: { connection: 'keep-alive' } },
    { ...good, headers: { 'content-length': '9' } },
    { ...good, headers: { constructor: 'x' } },
    { ...good, headers: { 'content-type': 'a\r\nSet-Cookie: b' } },
    { ...good, headers: { 'content-type': 7 } },
    { ...good, body: 'not base64!' },
    { ...good, body: undefined },
  ]) {
    surroundings.answer = () => answer;
    const raw = await surroundings.raw(t);
    raw.send(estRequest('simpleenroll', 'x'));
    assert.equal((await raw.answer()).status, 503, JSON.stringify(answer));
  }
});

test('who is refused costs his network a try and has to come again, and who was given a certificate is a stranger no more', async (t) => {
  const surroundings = await EstSurroundings.of(t);
  let raw = await surroundings.raw(t);
  const refused: (string | undefined)[] = [];
  for (const [status, failures, halfOpen] of [
    [202, 0, 1],
    [503, 0, 1],
    [401, 1, 1],
    [403, 2, 1],
    [400, 3, 1],
    [429, 4, 1],
    [200, 4, 0],
  ] as const) {
    surroundings.answer = () => estAnswer(status, 'said', { 'retry-after': '30' });
    await until('it is there', 5_000, () => surroundings.admission.halfOpen === 1);
    raw.send(estRequest('simpleenroll', 'x'));
    const answer = await raw.answer();
    assert.equal(answer.status, status);
    assert.equal(answer.headers.get('retry-after'), '30');
    assert.equal(surroundings.failed.length, failures, String(status));
    if (status >= 400 && status < 500) {
      refused.push(raw.address.split(':')[0]);
      assert.deepEqual(await raw.answersUntilClose(5_000), []);
      raw = await surroundings.raw(t);
    } else {
      assert.equal(surroundings.admission.halfOpen, halfOpen, String(status));
    }
  }
  assert.deepEqual(surroundings.failed, refused);
});

test('a label that is none costs his network a try, each time', async (t) => {
  const surroundings = await EstSurroundings.of(t);
  surroundings.answer = ({ label }) => estAnswer(label === undefined ? 200 : 404, 'said');
  for (const [operation, status, failures] of [
    ['cacerts', 200, 0],
    ['a/cacerts', 404, 1],
    ['b/cacerts', 404, 2],
    ['b/csrattrs', 404, 3],
    ['csrattrs', 200, 3],
  ] as const) {
    const raw = await surroundings.raw(t);
    raw.send(estRequest(operation));
    const answer = await raw.answer();
    assert.equal(answer.status, status);
    assert.equal(
      answer.headers.get('connection'),
      failures === 0 || status === 200 ? 'keep-alive' : 'close',
    );
    assert.equal(surroundings.failed.length, failures, operation);
  }
});

test('a request under way is finished when the gateway stops, and the last', async (t) => {
  const surroundings = await EstSurroundings.of(t);
  const asked = Promise.withResolvers<unknown>();
  surroundings.answer = () => asked.promise;
  const busy = await surroundings.raw(t);
  const idle = await surroundings.raw(t);
  busy.send(estRequest('simpleenroll', 'x'));
  await until('control is asked', 5_000, () => surroundings.calls.length === 1);
  await surroundings.listener.drain(0, 5_000);
  assert.deepEqual(await idle.answersUntilClose(5_000), []);
  asked.resolve(estAnswer(200, 'issued'));
  const [answer, ...more] = await busy.answersUntilClose(5_000);
  assert.equal(answer?.body.toString(), 'issued');
  assert.equal(answer.headers.get('connection'), 'close');
  assert.deepEqual(more, []);
});
