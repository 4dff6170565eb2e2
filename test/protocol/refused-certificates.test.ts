/**
 * Certificates that must not get anybody in. The hostile ones are under the gateway's own root, whose key
 * `ca export-root` handed out, so that nothing but the flaw in question stands in their way: the flawless one of the
 * same making is let in.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import type { Identity } from '../harness/gateway.ts';
import { problemCode } from '../harness/https-answer.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import { RawHttps } from '../harness/https-raw.ts';
import { requestText } from '../harness/https-text.ts';
import {
  clientExtensions,
  issueLeaf,
  makeAuthority,
  makeIntermediate,
  rewriteSigned,
  withChain,
} from '../harness/openssl.ts';
import type { LeafOptions } from '../harness/openssl.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';

const gateway = await startGateway();
after(async () => {
  await gateway.stop();
  await gateway[Symbol.asyncDispose]();
});

const port = gateway.mqttsPort;
const [d1, d2, gone] = await gateway.devices('d1', 'd2', 'gone');
assert.ok(d1 !== undefined && d2 !== undefined && gone !== undefined);
const { ca } = d1;
const rootFile = gateway.at('root.pem');
await gateway.ok('ca', 'export-root', rootFile);
const root = { crt: rootFile, key: rootFile };
const folder = gateway.at('hostile');
const dayMs = 86_400_000;

const spiffe = (id: string): string => `spiffe://fleet.internal/device/${id}`;
let leaves = 0;

function leaf(options: LeafOptions): Identity {
  leaves += 1;
  return issueLeaf(root, folder, `leaf-${leaves}`, ca, options);
}

/** d1's certificate as the gateway itself would write it, with something changed. */
function d1Leaf(changed: Partial<LeafOptions>): Identity {
  return leaf({ subject: '/CN=d1', extensions: clientExtensions(spiffe('d1')), ...changed });
}

function d1LeafWith(extension: string): Identity {
  const [name = ''] = extension.split('=');
  const kept = clientExtensions(spiffe('d1')).filter((line) => !line.startsWith(`${name}=`));
  return d1Leaf({ extensions: [...kept, extension] });
}

const foreign = makeAuthority(gateway.at('foreign'), 'Sallyport Root CA');

interface Refusal {
  readonly what: string;
  readonly identity: Identity | undefined;
  /** What the log says about it; the peer is told no detail. */
  readonly detail: RegExp;
}

const unauthenticated: readonly Refusal[] = [
  { what: 'no certificate', identity: undefined, detail: /no certificate/ },
  {
    what: 'a foreign CA',
    identity: issueLeaf(foreign, folder, 'foreign', ca, {
      subject: '/CN=d1',
      extensions: clientExtensions(spiffe('d1')),
    }),
    detail: /verify|issuer|signature/i,
  },
  {
    what: 'an expired certificate',
    identity: d1Leaf({
      notBefore: new Date(Date.now() - 2 * dayMs),
      notAfter: new Date(Date.now() - 60_000),
    }),
    detail: /expired/i,
  },
  {
    what: 'a certificate that is not yet valid',
    identity: d1Leaf({
      notBefore: new Date(Date.now() + dayMs),
      notAfter: new Date(Date.now() + 2 * dayMs),
    }),
    detail: /not.yet.valid/i,
  },
  {
    what: 'a certificate for servers only',
    identity: d1LeafWith('extendedKeyUsage=serverAuth'),
    detail: /purpose|eku/i,
  },
  {
    what: 'a key that may not sign',
    identity: d1LeafWith('keyUsage=critical,keyAgreement'),
    detail: /usage|purpose/i,
  },
  {
    what: 'a leaf that says it is a CA',
    identity: d1LeafWith('basicConstraints=critical,CA:TRUE'),
    detail: /ca-certificate|purpose/i,
  },
  {
    what: 'a critical extension nobody knows',
    identity: d1LeafWith('1.3.6.1.4.1.55555.1=critical,ASN1:NULL'),
    // node:tls has no word for OpenSSL's "unhandled critical extension".
    detail: /critical|UNSPECIFIED/i,
  },
  {
    what: 'two common names',
    identity: d1Leaf({ subject: '/CN=d1/CN=d2' }),
    detail: /ambiguous/,
  },
  {
    what: 'the same common name twice',
    identity: d1Leaf({ subject: '/CN=d1/CN=d1' }),
    detail: /ambiguous/,
  },
  {
    what: 'a SAN that disagrees with the CN',
    identity: d1Leaf({ extensions: clientExtensions(spiffe('d2')) }),
    detail: /name-mismatch/,
  },
  {
    what: 'two SPIFFE ids',
    identity: d1Leaf({
      extensions: [
        ...clientExtensions(undefined),
        `subjectAltName=URI:${spiffe('d1')},URI:${spiffe('d2')}`,
      ],
    }),
    detail: /ambiguous/,
  },
  {
    what: 'a SPIFFE id of another trust domain',
    identity: d1Leaf({ extensions: clientExtensions('spiffe://elsewhere.example/device/d1') }),
    detail: /foreign-trust-domain/,
  },
  {
    what: 'no SPIFFE id',
    identity: d1Leaf({ extensions: clientExtensions(undefined) }),
    detail: /no-identity/,
  },
  {
    what: 'a NUL in the common name',
    identity: rewriteSigned(
      root,
      leaf({ subject: '/CN=d1Xx', extensions: clientExtensions(spiffe('d1')) }),
      'd1Xx',
      'd1\0x',
    ),
    detail: /mismatch|bad-id/,
  },
  {
    what: 'a NUL in both names',
    identity: rewriteSigned(
      root,
      leaf({ subject: '/CN=d1Xx', extensions: clientExtensions(spiffe('d1Xx')) }),
      'd1Xx',
      'd1\0x',
    ),
    detail: /bad-id/,
  },
  {
    what: 'a newline in both names',
    identity: rewriteSigned(
      root,
      leaf({ subject: '/CN=d1Xx', extensions: clientExtensions(spiffe('d1Xx')) }),
      'd1Xx',
      'd1\nx',
    ),
    detail: /bad-id/,
  },
  {
    what: 'a look-alike letter in the common name',
    identity: leaf({ subject: '/CN=\u{501}1', extensions: clientExtensions(spiffe('d1')) }),
    detail: /mismatch|bad-id/,
  },
  {
    what: 'an identity that was never registered',
    identity: leaf({ subject: '/CN=ghost', extensions: clientExtensions(spiffe('ghost')) }),
    detail: /not registered/,
  },
  {
    what: 'a device that calls itself a service',
    identity: leaf({
      subject: '/CN=d1',
      extensions: clientExtensions('spiffe://fleet.internal/service/d1'),
    }),
    detail: /not registered/,
  },
];

test('the flawless certificate of the same making is let in, in both versions and over HTTPS', async () => {
  for (const version of [4, 5] as const) {
    using client = await RawMqtt.open({ port, identity: d1Leaf({}), version });
    assert.equal((await client.connect({ clientId: 'honest' })).code, 0);
  }
  using device = HttpsDevice.of(gateway, d1Leaf({}));
  assert.equal((await device.post('telemetry', '{}')).status, 202);
});

for (const { what, identity, detail } of unauthenticated) {
  test(`refused as unauthenticated: ${what}`, async () => {
    for (const { version, code } of [
      { version: 5, code: 0x86 },
      { version: 4, code: 5 },
    ] as const) {
      using client = await RawMqtt.open({ port, identity, ca, version });
      assert.equal((await client.connect({ clientId: 'hostile' })).code, code);
      await client.ended;
      const line = await gateway.log.logged((entry) => entry.get('remote') === client.address);
      assert.equal(line.get('msg'), 'refused');
      assert.equal(line.get('code'), 'unauthenticated');
      assert.match(String(line.get('detail')), detail);
    }
    using raw = await RawHttps.open({ port: gateway.httpsPort, identity, ca });
    raw.send(requestText('GET', '/api/v1/time'));
    const answers = await raw.answersUntilClose();
    assert.deepEqual(
      answers.map((answer) => [answer.status, problemCode(answer)]),
      [[401, 'unauthenticated']],
    );
    const line = await gateway.log.logged((entry) => entry.get('remote') === raw.address);
    assert.equal(line.get('code'), 'unauthenticated');
    assert.match(String(line.get('detail')), detail);
  });
}

test('refused as unauthenticated: a leaf under an intermediate of our root that we did not make', async () => {
  const rogue = makeIntermediate(root, gateway.at('rogue'), 'rogue');
  const under = issueLeaf(rogue, folder, 'under-rogue', ca, {
    subject: '/CN=d1',
    extensions: clientExtensions(spiffe('d1')),
  });
  using client = await RawMqtt.open({ port, identity: withChain(under, rogue.crt) });
  assert.equal((await client.connect({ clientId: 'rogue' })).code, 0x86);
});

test('a revoked device is refused for its standing, in both versions', async () => {
  {
    using before = await RawMqtt.open({ port, identity: gone });
    assert.equal((await before.connect({ clientId: 'gone' })).code, 0);
  }
  await gateway.ok('device', 'revoke', 'gone');
  for (const { version, code } of [
    { version: 5, code: 0x8a },
    { version: 4, code: 5 },
  ] as const) {
    using client = await RawMqtt.open({ port, identity: gone, version });
    assert.equal((await client.connect({ clientId: 'gone' })).code, code);
    const line = await gateway.log.logged((entry) => entry.get('remote') === client.address);
    assert.equal(line.get('code'), 'standing');
  }
});

test('a user name, a password and a client id are no proof of anything', async () => {
  using client = await RawMqtt.open({ port, identity: undefined, ca });
  const connack = await client.connect({ clientId: 'd1', userName: 'd1', password: 'd1' });
  assert.equal(connack.code, 0x86);
  using other = await RawMqtt.open({ port, identity: d2 });
  assert.equal((await other.connect({ clientId: 'd1', userName: 'd1' })).code, 0);
  assert.equal(await other.publish('devices/d1/telemetry', '{}'), 0x87);
});
