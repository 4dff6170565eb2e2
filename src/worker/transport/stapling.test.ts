/** OCSP stapling in real handshakes: what a client gets that asks for an answer, and that no handshake fails for it. */
import assert from 'node:assert/strict';
import { createHash, randomBytes, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import { connect, createServer } from 'node:tls';
import { issueLeaf, makeAuthority } from '../../../test/harness/openssl.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { within } from '../../../test/harness/waiting.ts';
import { Stapling } from './stapling.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const authority = makeAuthority(folder.at('ca'), 'Test Root');
const server = issueLeaf(authority, folder.at('server'), 'server', '', {
  subject: '/CN=server',
  extensions: ['extendedKeyUsage=serverAuth', 'subjectAltName=DNS:localhost'],
});
const cert = readFileSync(server.crt, 'utf8');
const certificate = createHash('sha256').update(new X509Certificate(cert).raw).digest('hex');

let now = 1_000;

async function setUp(t: TestContext, protocol: 'TLSv1.2' | 'TLSv1.3') {
  const counted: string[] = [];
  const stapling = new Stapling({ now: () => now, monotonic: () => now }, (name) => {
    counted.push(name);
  });
  const listener = createServer({ cert, key: readFileSync(server.key, 'utf8') });
  listener.on('OCSPRequest', stapling.answer);
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.after(() => void listener.close());
  const address = listener.address();
  assert.ok(address !== null && typeof address !== 'string');
  /** What a client of today's OpenSSL sees: the answer, or null. */
  const shake = async (requestOCSP = true): Promise<Buffer | null | 'not asked'> => {
    const socket = connect({
      host: '127.0.0.1',
      port: address.port,
      servername: 'localhost',
      ca: readFileSync(authority.crt),
      requestOCSP,
      minVersion: protocol,
      maxVersion: protocol,
    });
    let response: Buffer | null | 'not asked' = 'not asked';
    socket.on('OCSPResponse', (der: Buffer | null) => {
      response = der;
    });
    try {
      await within(once(socket, 'secureConnect'), 5_000, 'the handshake');
      return response;
    } finally {
      socket.destroy();
    }
  };
  return { stapling, counted, shake };
}

for (const protocol of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`${protocol}: the last good answer is in the handshake of who asks`, async (t) => {
    const { stapling, counted, shake } = await setUp(t, protocol);
    const response = randomBytes(300);
    stapling.update([
      { certificate: '00', response: 'AA==', nextUpdate: 5_000 },
      { certificate, response: response.toString('base64'), nextUpdate: 5_000 },
    ]);
    assert.deepEqual(await shake(), response);
    assert.deepEqual(await shake(), response);
    assert.equal(await shake(false), 'not asked');
    assert.deepEqual(counted, Array(2).fill('ocsp_staples{answer="sent"}'));
  });

  test(`${protocol}: a handshake goes on without an answer when there is none that holds`, async (t) => {
    const { stapling, counted, shake } = await setUp(t, protocol);
    assert.equal(await shake(), null);
    stapling.update([{ certificate: 'ff'.repeat(32), response: 'AA==', nextUpdate: 5_000 }]);
    assert.equal(await shake(), null);
    stapling.update([{ certificate, response: 'MAA=', nextUpdate: 5_000 }]);
    assert.equal((await shake())?.toString('hex'), '3000');
    now = 5_000;
    assert.equal(await shake(), null);
    // Set back: the answer is from a time to come.
    now = -100_000;
    assert.equal(await shake(), null);
    now = 1_000;
    assert.deepEqual(counted.filter((name) => name.includes('none')).length, 4);
  });
}
