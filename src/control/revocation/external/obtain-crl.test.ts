import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import { temporaryFolder } from '../../../../test/harness/temporary-folder.ts';
import { within } from '../../../../test/harness/waiting.ts';
import { SallyportError } from '../../../common/base/errors.ts';
import { encodePem } from '../../../common/codec/der/pem.ts';
import { nameOfSource, obtainCrl } from './obtain-crl.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const limits = { maxBytes: 1_000, timeoutMs: 10_000 };
const body = Buffer.from([0x30, 0x03, 0x02, 0x01, 0x05]);

async function serving(
  t: TestContext,
  handle: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<{ readonly url: string; readonly asked: IncomingMessage[] }> {
  const asked: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    asked.push(request);
    handle(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  return { url: `http://127.0.0.1:${address.port}/list.crl?key=secret`, asked };
}

function refusedWith(code: string, words: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof SallyportError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, words);
    return true;
  };
}

test('what the server sends is what is had', async (t) => {
  const { url, asked } = await serving(t, (_, response) => response.end(body));
  assert.deepEqual(await obtainCrl({ url }, limits), body);
  assert.equal(asked[0]?.headers['accept-encoding'], 'identity');
});

for (const status of [301, 302, 303, 307, 308]) {
  test(`a redirect with ${status} is not followed`, async (t) => {
    const elsewhere = await serving(t, (_, response) => response.end(body));
    const { url } = await serving(t, (_, response) =>
      response.writeHead(status, { location: elsewhere.url }).end(body),
    );
    await assert.rejects(
      obtainCrl({ url }, limits),
      refusedWith('io', /redirects are not followed/),
    );
    assert.equal(elsewhere.asked.length, 0, 'somebody else was asked');
  });
}

test('an answer other than 200 is none, whatever it holds', async (t) => {
  const { url } = await serving(t, (_, response) => response.writeHead(404).end(body));
  await assert.rejects(obtainCrl({ url }, limits), refusedWith('io', /answered 404/));
});

test('a list that says that it is too large is not read', async (t) => {
  let written = 0;
  const { url } = await serving(t, (_, response) => {
    response.writeHead(200, { 'content-length': 50_000_000 });
    response.flushHeaders();
    response.on('close', () => (written = response.socket?.bytesWritten ?? 0));
  });
  await assert.rejects(obtainCrl({ url }, limits), refusedWith('too-large', /1000 bytes/));
  assert.ok(written < 1_000);
});

test('a list that does not say how long it is ends at the bound', async (t) => {
  const { url } = await serving(t, (_, response) => {
    const more = (): void => void (response.write(Buffer.alloc(100)) && setImmediate(more));
    response.on('drain', more);
    more();
  });
  await assert.rejects(obtainCrl({ url }, limits), refusedWith('too-large', /1000 bytes/));
});

test('a list of exactly the bound is had', async (t) => {
  const { url } = await serving(t, (_, response) => response.end(Buffer.alloc(1_000, 0x30)));
  assert.equal((await obtainCrl({ url }, limits)).length, 1_000);
});

test('a compressed answer, which may be a bomb, is not unpacked', async (t) => {
  const { url } = await serving(t, (_, response) =>
    response.writeHead(200, { 'content-encoding': 'gzip' }).end(body),
  );
  await assert.rejects(obtainCrl({ url }, limits), refusedWith('io', /encoded/));
});

for (const [what, handle] of Object.entries({
  'says nothing': () => {},
  'stops in the middle': (_: IncomingMessage, response: ServerResponse) => {
    response.writeHead(200, { 'content-length': 100 });
    response.write(body);
  },
  'sends a byte now and then': (_: IncomingMessage, response: ServerResponse) => {
    response.writeHead(200);
    const ticks = setInterval(() => response.write('0'), 20);
    response.on('close', () => clearInterval(ticks));
  },
})) {
  test(`a server that ${what} is given up in time`, async (t) => {
    const { url } = await serving(t, handle);
    await assert.rejects(
      obtainCrl({ url }, { ...limits, timeoutMs: 300 }),
      refusedWith('timeout', /300 ms/),
    );
  });
}

test('an answer that breaks off is none', async (t) => {
  const { url } = await serving(t, (_, response) => {
    response.writeHead(200, { 'content-length': 100 });
    response.write(body, () => response.destroy());
  });
  await assert.rejects(obtainCrl({ url }, limits), refusedWith('io', /./));
});

test('a server that is not there is an error with a reason', async () => {
  await assert.rejects(
    obtainCrl({ url: 'http://127.0.0.1:1/list.crl' }, limits),
    refusedWith('io', /ECONNREFUSED/),
  );
});

test('a file is read; one that is too large, a folder, a pipe or not there is not', async () => {
  const file = folder.at('list.crl');
  writeFileSync(file, body);
  assert.deepEqual(await obtainCrl({ file }, limits), body);
  writeFileSync(folder.at('large'), Buffer.alloc(1_001));
  const large = obtainCrl({ file: folder.at('large') }, limits);
  await assert.rejects(large, refusedWith('too-large', /1000 bytes/));
  await assert.rejects(obtainCrl({ file: folder.at('.') }, limits), refusedWith('io', /regular/));
  execFileSync('mkfifo', [folder.at('pipe')]);
  await assert.rejects(
    obtainCrl({ file: folder.at('pipe') }, limits),
    refusedWith('io', /regular/),
  );
  await assert.rejects(obtainCrl({ file: folder.at('none') }, limits), refusedWith('io', /ENOENT/));
});

test('PEM is decoded, when it is of one list', async () => {
  const file = folder.at('list.pem');
  writeFileSync(file, encodePem('X509 CRL', body));
  assert.deepEqual(await obtainCrl({ file }, limits), body);
  writeFileSync(file, encodePem('X509 CRL', body) + encodePem('X509 CRL', body));
  await assert.rejects(obtainCrl({ file }, limits), refusedWith('malformed', /one list/));
  writeFileSync(file, encodePem('CERTIFICATE', body));
  await assert.rejects(obtainCrl({ file }, limits), refusedWith('malformed', /one list/));
});

test('what is said of a source has no secret in it', () => {
  assert.equal(
    nameOfSource({ url: 'https://ca.example:8/a.crl?key=secret' }),
    'https://ca.example:8/a.crl',
  );
});

test('a server that changes the protocol has not answered', async (t) => {
  const server = createTcpServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () =>
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n'),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => void server.close());
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const url = `http://127.0.0.1:${address.port}/`;
  const obtained = within(obtainCrl({ url }, limits), 5_000, 'an end');
  await assert.rejects(obtained, refusedWith('io', /gave no answer/));
});
