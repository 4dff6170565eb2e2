import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { connect, createServer } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { makeAuthority } from '../../../test/harness/openssl.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { keyExchangeGroup } from './key-exchange.ts';

const folder = temporaryFolder();
const { key, crt } = makeAuthority(folder.path, 'localhost');
const pair = { key: readFileSync(key), cert: readFileSync(crt) };
const server = createServer({ ...pair, ecdhCurve: 'X25519MLKEM768:X25519:P-256:P-384' });
before(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
after(() => {
  server.close();
  folder[Symbol.dispose]();
});

/** A handshake: what the server says of it, and what a client needs to resume it. */
async function shake(version: 'TLSv1.2' | 'TLSv1.3', groups: string, resume?: Buffer) {
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const accepted = once(server, 'secureConnection');
  const client = connect({
    host: '127.0.0.1',
    port: address.port,
    ca: pair.cert,
    checkServerIdentity: () => undefined,
    minVersion: version,
    maxVersion: version,
    ecdhCurve: groups,
    ...(resume === undefined ? {} : { session: resume }),
  });
  const ticket = once(client, 'session') as Promise<[Buffer]>;
  client.resume();
  const [socket] = (await accepted) as [TLSSocket];
  const group = keyExchangeGroup(socket);
  const resumed = socket.isSessionReused();
  const [session] = resume === undefined ? await ticket : [resume];
  client.destroy();
  socket.destroy();
  return { group, resumed, session };
}

for (const [version, groups, expected] of [
  ['TLSv1.3', 'X25519MLKEM768', 'X25519MLKEM768'],
  ['TLSv1.3', 'X25519:X25519MLKEM768', 'X25519'],
  ['TLSv1.3', 'P-256', 'P-256'],
  ['TLSv1.3', 'P-384', 'P-384'],
  ['TLSv1.2', 'X25519:P-256', 'X25519'],
  ['TLSv1.2', 'P-256', 'P-256'],
] as const) {
  test(`${version} with a client that wants ${groups}: ${expected}`, async () => {
    assert.equal((await shake(version, groups)).group, expected);
  });
}

test('a resumed TLS 1.3 session names the group of its own exchange, not the one before', async () => {
  const first = await shake('TLSv1.3', 'X25519MLKEM768');
  const again = await shake('TLSv1.3', 'P-256', first.session);
  assert.deepEqual([again.resumed, again.group], [true, 'P-256']);
});

test('a resumed TLS 1.2 session had no exchange', async () => {
  const first = await shake('TLSv1.2', 'P-256');
  const again = await shake('TLSv1.2', 'P-256', first.session);
  assert.deepEqual([again.resumed, again.group], [true, 'none']);
});
