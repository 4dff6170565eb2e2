import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import {
  clientExtensions,
  issueLeaf,
  makeAuthority,
  makeIntermediate,
} from '../../../test/harness/openssl.ts';
import type { Authority, LeafOptions } from '../../../test/harness/openssl.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import type { AnchorMapping, TlsMaterial, TrustAnchor } from '../../common/ipc/snapshot.ts';
import { Authenticator } from './authenticate.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const dayMs = 86_400_000;

const root = makeAuthority(folder.at('root'), 'Root');
const namesake = makeAuthority(folder.at('namesake'), 'Root');
const middle = makeIntermediate(root, folder.at('middle'), 'Middle');
/** No CA is younger than this. */
const start = Date.now();
let made = 0;

function leaf(authority: Authority, options: Partial<LeafOptions> = {}): Buffer {
  const { crt } = issueLeaf(authority, folder.at('leaves'), `leaf${++made}`, '', {
    subject: '/CN=d1',
    extensions: clientExtensions('spiffe://fleet.example/device/d1'),
    notBefore: new Date(start - dayMs),
    notAfter: new Date(start + 90 * dayMs),
    ...options,
  });
  return new X509Certificate(readFileSync(crt)).raw;
}

function anchor(
  name: string,
  mapping: AnchorMapping,
  ...authorities: readonly Authority[]
): TrustAnchor {
  return { name, mapping, certificates: authorities.map(({ crt }) => readFileSync(crt, 'utf8')) };
}

const spiffe: AnchorMapping = { type: 'spiffe' };
const byCommonName: AnchorMapping = {
  type: 'rule',
  kind: 'device',
  role: 'device',
  from: 'cn',
  prefix: 'factory-',
  autoRegister: false,
};

function setUp(...anchors: readonly TrustAnchor[]) {
  const hands = { now: start };
  const revoked = new Set<string>();
  const authenticator = new Authenticator({
    clock: { now: () => hands.now, monotonic: () => hands.now },
    isRevoked: (name, serial) => revoked.has(`${name}:${serial}`),
  });
  const trust = (...trusted: readonly TrustAnchor[]): void => {
    const material: TlsMaterial = {
      certificateChain: '',
      privateKey: '',
      minVersion: '1.2',
      groups: [],
      anchors: trusted,
    };
    authenticator.setAnchors('fleet.example', material);
  };
  trust(...anchors);
  return { authenticator, hands, revoked, trust };
}

const internal = anchor('internal', spiffe, root);

test('a certificate of a trusted CA names its principal', () => {
  const { authenticator } = setUp(internal);
  const der = leaf(root);
  const found = authenticator.authenticate(der, undefined);
  assert.ok(found.ok);
  assert.equal(found.principal, 'device/d1');
  assert.equal(found.commonName, 'd1');
  assert.equal(found.anchor.name, 'internal');
  assert.equal(found.revoked, false);
  const { serialNumber, validToDate } = new X509Certificate(der);
  assert.equal(found.serialHex, serialNumber.toLowerCase().replace(/^0+/, ''));
  assert.equal(found.notAfterMs, validToDate.getTime());
});

test('no certificate, no trusted anchors and bytes that are no certificate name nobody', () => {
  const { authenticator, trust } = setUp(internal);
  assert.equal(authenticator.authenticate(undefined, undefined).ok, false);
  for (const der of [Buffer.alloc(0), Buffer.from('not a certificate'), leaf(root).subarray(1)]) {
    assert.equal(authenticator.authenticate(der, undefined).ok, false);
  }
  trust();
  assert.equal(authenticator.authenticate(leaf(root), undefined).ok, false);
});

test('what the TLS library does not accept is refused, also when it was accepted before', () => {
  const { authenticator } = setUp(internal);
  const der = leaf(root);
  assert.equal(authenticator.authenticate(der, undefined).ok, true);
  const refused = authenticator.authenticate(der, 'CERT_HAS_EXPIRED');
  assert.ok(!refused.ok);
  assert.equal(refused.detail, 'CERT_HAS_EXPIRED');
  assert.equal(refused.commonName, 'd1');
});

test('the anchor is found by signature and not by name', () => {
  const { authenticator } = setUp(
    anchor('other', byCommonName, namesake),
    anchor('internal', spiffe, root),
  );
  const ours = authenticator.authenticate(leaf(root), undefined);
  assert.ok(ours.ok);
  assert.deepEqual([ours.anchor.name, ours.principal], ['internal', 'device/d1']);
  const theirs = authenticator.authenticate(leaf(namesake), undefined);
  assert.ok(theirs.ok);
  // Our SPIFFE id in a certificate of theirs is worth nothing: their rule says who it is.
  assert.deepEqual([theirs.anchor.name, theirs.principal], ['other', 'device/factory-d1']);
});

test('a CA of the same name that is not trusted vouches for nobody', () => {
  const { authenticator } = setUp(internal);
  assert.equal(authenticator.authenticate(leaf(namesake), undefined).ok, false);
});

test('a CA below the root vouches only when it is an anchor itself', () => {
  const der = leaf(middle);
  assert.equal(setUp(internal).authenticator.authenticate(der, undefined).ok, false);
  const { authenticator } = setUp(anchor('internal', spiffe, root, middle));
  assert.equal(authenticator.authenticate(der, undefined).ok, true);
});

test('the dates of the certificate are judged on every connection', () => {
  const { authenticator, hands } = setUp(internal);
  const der = leaf(root, { notAfter: new Date(start + dayMs) });
  assert.equal(authenticator.authenticate(der, undefined).ok, true);
  hands.now = start + dayMs + 2_000;
  assert.equal(authenticator.authenticate(der, undefined).ok, false);
  hands.now = start - 2 * dayMs;
  assert.equal(authenticator.authenticate(der, undefined).ok, false);
  hands.now = start;
  assert.equal(authenticator.authenticate(der, undefined).ok, true);
});

test('a certificate does not outlive its CA, nor the CA above that one, whether it was seen before or not', () => {
  // The root is good for 30 days, the intermediate for one.
  for (const [authorities, der, days] of [
    [[root], leaf(root), 31],
    [[root, middle], leaf(middle), 2],
  ] as const) {
    const { authenticator, hands } = setUp(anchor('internal', spiffe, ...authorities));
    const fresh = setUp(anchor('internal', spiffe, ...authorities));
    assert.equal(authenticator.authenticate(der, undefined).ok, true);
    hands.now = start + days * dayMs;
    fresh.hands.now = hands.now;
    assert.equal(authenticator.authenticate(der, undefined).ok, false);
    assert.equal(fresh.authenticator.authenticate(der, undefined).ok, false);
  }
});

test('revocation is by anchor and serial number, and is asked every time', () => {
  const { authenticator, revoked } = setUp(internal);
  const der = leaf(root);
  const before = authenticator.authenticate(der, undefined);
  assert.ok(before.ok);
  revoked.add(`other:${before.serialHex}`);
  const still = authenticator.authenticate(der, undefined);
  assert.ok(still.ok && !still.revoked);
  revoked.add(`internal:${before.serialHex}`);
  const afterwards = authenticator.authenticate(der, undefined);
  assert.ok(afterwards.ok && afterwards.revoked);
});

test('when an anchor goes or changes its rule, what was remembered of it goes too', () => {
  const { authenticator, trust } = setUp(anchor('factory', byCommonName, root));
  const der = leaf(root);
  const before = authenticator.authenticate(der, undefined);
  assert.ok(before.ok);
  assert.equal(before.principal, 'device/factory-d1');
  trust(anchor('factory', { ...byCommonName, prefix: 'plant-' }, root));
  const changed = authenticator.authenticate(der, undefined);
  assert.ok(changed.ok);
  assert.equal(changed.principal, 'device/plant-d1');
  trust(anchor('internal', spiffe, namesake));
  assert.equal(authenticator.authenticate(der, undefined).ok, false);
});

test('a name of another trust domain is nobody here', () => {
  const { authenticator } = setUp(internal);
  const der = leaf(root, { extensions: clientExtensions('spiffe://other.example/device/d1') });
  assert.equal(authenticator.authenticate(der, undefined).ok, false);
});
