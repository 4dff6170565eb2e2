/** docs/proxied-routes.md, as it is printed: a real gateway, curl, and a backend that verifies who asks. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { repositoryRoot } from '../harness/cli.ts';
import { blockWith, commandsWith } from '../harness/doc-commands.ts';
import { startGateway } from '../harness/gateway.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import { until } from '../harness/waiting.ts';

interface Seen {
  readonly request: IncomingMessage;
  readonly body: string;
}

const seen: Seen[] = [];
const backend = createServer((request, response) => {
  const pieces: Buffer[] = [];
  request.on('data', (piece: Buffer) => pieces.push(piece));
  request.on('end', () => {
    seen.push({ request, body: Buffer.concat(pieces).toString() });
    response.end(`${request.method} ${request.url}`);
  });
});
await new Promise<void>((resolve) => {
  backend.listen(0, '127.0.0.1', resolve);
});
const { port } = backend.address() as AddressInfo; // it listens on a port

const here = (text: string): string =>
  text.replaceAll('http://127.0.0.1:9000', `http://127.0.0.1:${port}`);
const plain = here(blockWith('proxied-routes.md', 'yaml', '# sallyport.yaml'));
const asserted = here(blockWith('proxied-routes.md', 'yaml', 'identity: jwt'));
const gateway = await startGateway({ workers: 2, config: plain });
after(async () => {
  await gateway.stop();
  await gateway[Symbol.asyncDispose]();
  backend.closeAllConnections();
  backend.close();
});

/** Runs a block of the documentation against this gateway, in its folder. */
async function run(block: string): Promise<string> {
  const text = block
    .replaceAll(
      'sallyport ',
      `${join(repositoryRoot, 'bin', 'sallyport')} --data ${gateway.dataDir} `,
    )
    .replaceAll('localhost:8443', `localhost:${gateway.httpsPort}`);
  const { stdout } = await promisify(execFile)('sh', ['-e', '-c', text], { cwd: gateway.at() });
  return stdout;
}

test('curl as documented reaches the backend, which is told who asks', async () => {
  const printed = await run(commandsWith('proxied-routes.md', 'backend/readings'));
  assert.ok(printed.endsWith('POST /backend/readings?unit=C'), printed);
  const [{ request, body } = assert.fail()] = seen;
  assert.equal(body, '{"temperature": 21.5}');
  assert.equal(request.headers['x-principal'], 'device/d1');
  assert.equal(request.headers['x-device-id'], 'd1');
  assert.match(String(request.headers['x-client-dn']), /^CN=d1/);
  assert.equal(request.headers['x-forwarded-host'], `localhost:${gateway.httpsPort}`);
  assert.equal(request.headers['x-sallyport-identity'], undefined);
});

test('what may be had and what not is judged live, on every worker', async () => {
  const d1 = await gateway.device('d9');
  using device = HttpsDevice.of(gateway, d1);
  assert.equal((await device.request('GET', '/backend/x')).status, 200);
  assert.equal((await device.request('GET', '/other/x')).status, 404);
  assert.equal((await device.request('PUT', '/backend/x')).status, 405);
  await gateway.ok('device', 'suspend', 'd9');
  assert.equal((await device.requestAlone('GET', '/backend/x')).status, 403);
});

test('the assertion is verified as documented, with the keys as they are published', async () => {
  gateway.configure(asserted);
  await gateway.ok('reload');
  await run(commandsWith('proxied-routes.md', 'jwks.json'));
  mkdirSync(gateway.at('verifier'));
  symlinkSync(join(repositoryRoot, 'node_modules'), gateway.at('verifier', 'node_modules'));
  const file = gateway.at('verifier', 'verify.mjs');
  copyFileSync(gateway.at('keys.json'), gateway.at('verifier', 'keys.json'));
  const keysPath = JSON.stringify(gateway.at('verifier', 'keys.json'));
  writeFileSync(
    file,
    blockWith('proxied-routes.md', 'js', '// verify.mjs').replace("'keys.json'", keysPath),
  );
  // It is the module that has just been written.
  const { whoAsks } = (await import(pathToFileURL(file).href)) as {
    readonly whoAsks: (request: IncomingMessage) => Promise<string>;
  };
  const d2 = await gateway.device('d2');
  using device = HttpsDevice.of(gateway, d2);
  const latest = async (): Promise<IncomingMessage> => {
    const answer = await device.request('GET', '/backend/who?x=1');
    assert.equal(answer.status, 200);
    return seen.at(-1)?.request ?? assert.fail();
  };
  const request = await until('a request with an assertion', 30_000, async () => {
    const each = await latest();
    return each.headers['x-sallyport-identity'] === undefined ? undefined : each;
  });
  assert.equal(await whoAsks(request), 'spiffe://fleet.internal/device/d2');
  const moved = { headers: request.headers, method: 'POST', url: request.url };
  // Another request with the same words.
  await assert.rejects(whoAsks(moved as IncomingMessage), /another request/);
});
