/**
 * What vouches for a device ends: its certificate expires, or its authority is no longer trusted. Connections that it
 * opened end, and neither a new handshake nor a ticket of before brings it back.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import type { Identity } from '../harness/gateway.ts';
import { problemCode } from '../harness/https-answer.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import { RawHttps } from '../harness/https-raw.ts';
import { requestText } from '../harness/https-text.ts';
import { issueLeaf, makeAuthority } from '../harness/openssl.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { runningMs, until, within } from '../harness/waiting.ts';
import { onEachWorker } from '../harness/worker-of.ts';

const folder = temporaryFolder();
const authority = makeAuthority(folder.at('factory'), 'Factory');
const anchor = `{ name: factory, file: ${authority.crt}, from: cn, prefix: factory-, register: auto }`;
const gateway = await startGateway({
  workers: 2,
  folder,
  config: `ca: { trustAnchors: [ ${anchor} ] }`,
});
after(async () => {
  await gateway[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});
const port = gateway.httpsPort;
const { workers } = gateway.run();
const d1 = await gateway.device('d1');
const time = requestText('GET', '/api/v1/time');
const poll = requestText('GET', '/api/v1/commands?wait=60');

function leaf(id: string, notAfter?: Date): Identity {
  return issueLeaf(authority, folder.at('leaves'), id, d1.ca, {
    subject: `/CN=${id}`,
    ...(notAfter === undefined ? {} : { notAfter }),
  });
}

interface Opened {
  readonly raw: RawHttps;
  readonly address: string;
  readonly ticket: Buffer;
  readonly tls: TlsVersion;
}

type TlsVersion = 'TLSv1.2' | 'TLSv1.3';

async function open(identity: Identity, tls: TlsVersion): Promise<Opened> {
  const raw = await RawHttps.open({ port, identity, maxVersion: tls });
  raw.send(time);
  assert.equal((await raw.answer()).status, 200);
  const ticket = raw.socket.getSession();
  assert.ok(ticket !== undefined);
  return { raw, address: raw.address, ticket, tls };
}

/** In both versions of TLS on each worker: one that waits for commands, and one that waits for the next request. */
async function openEverywhere(identity: Identity): Promise<readonly Opened[]> {
  const opened: Opened[] = [];
  for (const tls of ['TLSv1.2', 'TLSv1.3'] as const) {
    for (const text of ['', poll]) {
      const found = await onEachWorker(gateway, workers, async () => {
        const each = await open(identity, tls);
        return { each, client: { ...each, [Symbol.dispose]: () => each.raw[Symbol.dispose]() } };
      });
      for (const { each } of found.values()) {
        each.raw.send(text);
        opened.push(each);
      }
    }
  }
  return opened;
}

async function assertRefused(identity: Identity, opened: readonly Opened[]): Promise<void> {
  for (const { ticket, tls } of opened) {
    for (const session of [undefined, ticket]) {
      using raw = await RawHttps.open({ port, identity, maxVersion: tls, session });
      raw.send(time);
      const [answer, ...more] = await raw.answersUntilClose();
      assert.ok(answer !== undefined && more.length === 0);
      assert.deepEqual([answer.status, problemCode(answer)], [401, 'unauthenticated'], tls);
    }
  }
}

test('a certificate that expires ends its connections on time', async () => {
  const end = Math.ceil(Date.now() / 1_000) * 1_000 + 20_000;
  const identity = leaf('soon', new Date(end));
  const opened = await openEverywhere(identity);
  assert.ok(Date.now() < end, 'this machine is too slow for the certificate');
  for (const { raw } of opened) await within(raw.ended, 60_000, 'the end of a connection');
  const lateMs = Date.now() - end;
  assert.ok(lateMs >= 0, `ended ${-lateMs} ms before the certificate`);
  // RFC 5280 §4.1.2.5: it holds through the second that it names.
  await until('the last second is over', 60_000, () => Date.now() > end + 1_000);
  await assertRefused(identity, opened);
});

test('an authority that is taken out of the configuration takes its devices along, and no others', async () => {
  const identity = leaf('7');
  using other = HttpsDevice.of(gateway, d1);
  assert.equal((await other.post('telemetry', '{}')).status, 202);
  const opened = await openEverywhere(identity);
  gateway.configure('');
  await gateway.ok('reload');
  const returned = runningMs();
  for (const { raw, tls } of opened) {
    const { at } = await within(raw.ended, 5_000, 'the end of a connection');
    assert.ok(at - returned < 1_000, `${tls}: ended ${at - returned} ms after`);
  }
  await assertRefused(identity, opened);
  assert.equal((await other.post('telemetry', '{}')).status, 202);
  assert.equal(other.sockets.length, 1);
  await gateway.stop();
});
