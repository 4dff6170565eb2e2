/**
 * A device that must not come in does not: over every protocol, on every worker, in both versions of TLS, with a full
 * handshake and with the ticket of a session from before; and what it has open ends. Whether an operator says so, or
 * the revocation list of the authority that its certificate is from.
 */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import type { Identity } from '../harness/gateway.ts';
import { ListServer } from '../harness/list-server.ts';
import { clientExtensions, issueLeaf, makeAuthority } from '../harness/openssl.ts';
import { revocationList } from '../harness/revocation-list.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { runningMs, within } from '../harness/waiting.ts';
import { tlsVersions, waysIn } from '../harness/ways-in.ts';
import type { Live, TlsVersion, WayIn } from '../harness/ways-in.ts';
import { onEachWorker } from '../harness/worker-of.ts';

const folder = temporaryFolder();
const factory = makeAuthority(folder.at('factory'), 'Factory');
const lists = await ListServer.start();
lists.serve('factory', revocationList(factory, { number: 1 }));
const gateway = await startGateway({
  workers: 2,
  folder,
  config: [
    'ca:',
    '  trustAnchors:',
    `    - { name: factory, file: ${factory.crt}, prefix: factory-, register: auto,`,
    `        crl: { from: [ '${lists.url('factory')}' ], every: 1s } }`,
    // As long as can be: the end of a period would be the end of all tickets.
    'tls: { ticketRotation: 24d }',
    'routes: { telemetry: { rate: [] } }',
    'limits:',
    '  sessionsPerIdentity: 64',
    '  connectionsPerIdentity: 64',
    '  connectsPerMinute: 10000',
    '  sourceFailures: 10000',
    '  identityRates: { device: [] }',
  ].join('\n'),
});
after(async () => {
  await gateway.stop();
  await gateway[Symbol.asyncDispose]();
  await lists[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});
const { workers } = gateway.run();
const be = await gateway.service('be', 'backend');

/** From the moment at which the change is in force to the end of every connection; one second is for a busy machine. */
const endsWithinMs = 1_000;

interface Opened extends Live {
  readonly way: WayIn;
  readonly tls: TlsVersion;
}

async function openEverywhere(identity: Identity): Promise<readonly Opened[]> {
  const opened: Opened[] = [];
  for (const way of waysIn) {
    for (const tls of tlsVersions) {
      const found = await onEachWorker(gateway, workers, () =>
        way.live({ gateway, identity, tls }),
      );
      for (const live of found.values()) opened.push({ ...live, way, tls });
    }
  }
  return opened;
}

async function assertRefusedEverywhere(
  identity: Identity,
  opened: readonly Opened[],
): Promise<void> {
  for (const { way, tls, ticket } of opened) {
    for (const session of [undefined, ticket]) {
      const found = await onEachWorker(gateway, workers, () =>
        way.come({ gateway, identity, tls, session }),
      );
      for (const { client, code, resumed } of found.values()) {
        const what = `${way.name}, ${tls}, ${session === undefined ? 'full' : 'resumed'}`;
        assert.equal(code, way.standing, what);
        assert.equal(resumed, session !== undefined, what);
        client[Symbol.dispose]();
      }
    }
  }
}

async function assertEnded(opened: readonly Opened[], inForceAt: number): Promise<void> {
  for (const { way, tls, ended } of opened) {
    const { at } = await within(ended, 5_000, `the end of ${way.name} over ${tls}`);
    assert.ok(at - inForceAt < endsWithinMs, `${way.name}, ${tls}: ${at - inForceAt} ms after`);
  }
}

for (const action of ['suspend', 'quarantine', 'revoke']) {
  test(`device ${action}: what is open ends, nothing new begins, on either worker`, async () => {
    const identity = await gateway.device(`for-${action}`);
    const opened = await openEverywhere(identity);
    await gateway.ok('device', action, identity.id);
    await assertEnded(opened, runningMs());
    await assertRefusedEverywhere(identity, opened);
  });
}

function leaf(id: string): Identity {
  return issueLeaf(factory, folder.at('leaves'), id, be.ca, {
    subject: `/CN=${id}`,
    extensions: clientExtensions(undefined),
  });
}

test("the list of its authority: the same, and the authority's other devices notice nothing", async () => {
  const [revoked, neighbour] = [leaf('7'), leaf('8')];
  const opened = await openEverywhere(revoked);
  const others = await openEverywhere(neighbour);
  const { serialNumber } = new X509Certificate(readFileSync(revoked.crt));
  const since = gateway.log.end;
  lists.serve(
    'factory',
    revocationList(factory, { number: 2, entries: [{ serial: serialNumber, reason: 1 }] }),
  );
  const taken = await gateway.log.logged(
    (line) => line.get('msg') === 'revocation list taken',
    since,
    30_000,
  );
  const inForceAt = runningMs();
  assert.equal(taken.get('revoked'), 1);
  await assertEnded(opened, inForceAt);
  await assertRefusedEverywhere(revoked, opened);
  for (const { way, tls, ticket, client } of others) {
    const again = await way.come({ gateway, identity: neighbour, tls, session: ticket });
    assert.equal(again.code, way.letIn, `${way.name}, ${tls}`);
    again.client[Symbol.dispose]();
    client[Symbol.dispose]();
  }
});
