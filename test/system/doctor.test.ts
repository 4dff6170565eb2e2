/**
 * `sallyport doctor` against servers and files with a planted fault each: it names the fault, says what to do, and ends
 * with 1. Against what is sound it finds none.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer as createTcpServer, connect } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { after, describe, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import type { TlsOptions } from 'node:tls';
import { runCli } from '../harness/cli.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Identity } from '../harness/gateway.ts';
import { issueLeaf, makeAuthority, makeIntermediate, withChain } from '../harness/openssl.ts';
import type { Authority, LeafOptions } from '../harness/openssl.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

const dayMs = 86_400_000;
const folder = temporaryFolder();
const gateway = await startGateway({ listener: 'est: { host: 127.0.0.1, port: 0 }' });
const servers: Server[] = [];
const holders: Socket[] = [];
const children: ChildProcess[] = [];
after(async () => {
  for (const holder of holders) holder.destroy();
  for (const server of servers) server.close();
  for (const child of children) child.kill();
  await gateway.stop();
  await gateway[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const [device, suspended, revoked] = await gateway.devices('d1', 'd2', 'd3');
assert.ok(device !== undefined && suspended !== undefined && revoked !== undefined);
await gateway.ok('device', 'suspend', 'd2');
await gateway.ok('device', 'revoke', 'd3');

const root = makeAuthority(folder.at('root'), 'Plant Root');
const otherRoot = makeAuthority(folder.at('other'), 'Other Root');
const intermediate = makeIntermediate(root, folder.at('root'), 'intermediate');

const serverExtensions = [
  'basicConstraints=critical,CA:FALSE',
  'keyUsage=critical,digitalSignature',
  'extendedKeyUsage=serverAuth',
  'subjectAltName=DNS:localhost,IP:127.0.0.1',
];
let made = 0;

function serverLeaf(changed: Partial<LeafOptions> = {}, authority: Authority = root): Identity {
  made += 1;
  return issueLeaf(authority, folder.at('leaves'), `server-${made}`, root.crt, {
    subject: '/CN=localhost',
    extensions: serverExtensions,
    ...changed,
  });
}

function without(name: string, ...more: readonly string[]): readonly string[] {
  return [...serverExtensions.filter((line) => !line.startsWith(`${name}=`)), ...more];
}

async function listen(server: Server): Promise<number> {
  servers.push(server);
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return (server.address() as AddressInfo).port;
}

/** Reads what comes, and says nothing. */
function ignore(socket: Socket): void {
  socket.on('error', () => {}).resume();
}

/** Accepts any client and answers its CONNECT with CONNACK 0. */
function broker(identity: Identity, options: TlsOptions = {}): Promise<number> {
  const server = createTlsServer({
    cert: readFileSync(identity.crt),
    key: readFileSync(identity.key),
    ...options,
  });
  server.on('secureConnection', (socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.write(Buffer.from([0x20, 0x03, 0, 0, 0])));
  });
  server.on('tlsClientError', () => {});
  return listen(server);
}

/** openssl, which refuses clients in the handshake and says why in an alert. */
async function strictServer(identity: Identity, clients: Authority): Promise<number> {
  const server = ['-cert', identity.crt, '-key', identity.key, '-CAfile', clients.crt];
  const child = spawn(
    'openssl',
    ['s_server', '-accept', '127.0.0.1:0', ...server, '-Verify', '1', '-verify_return_error'],
    { stdio: ['pipe', 'pipe', 'ignore'] },
  );
  children.push(child);
  return new Promise((resolve) => {
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString('latin1');
      const port = /^ACCEPT .*:(\d+)$/m.exec(said)?.[1];
      if (port !== undefined) resolve(Number(port));
    });
  });
}

/** A path that carries so many bytes of what the server says, and no more. */
function narrowPath(port: number, bytes: number): Promise<number> {
  const server = createTcpServer((near) => {
    const far = connect(port, '127.0.0.1');
    let left = bytes;
    const end = (): void => {
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) socket.on('error', end).on('close', end);
    near.on('data', (chunk: Buffer) => far.write(chunk));
    far.on('data', (chunk: Buffer) => {
      if (left > 0) near.write(chunk.subarray(0, left));
      left -= chunk.length;
    });
  });
  return listen(server);
}

interface Report {
  readonly ok: boolean;
  readonly findings: readonly {
    readonly severity: string;
    readonly code: string;
    readonly says: string;
    readonly todo?: string;
  }[];
}

async function doctor(port: number, ...args: readonly string[]) {
  const where = `localhost:${port}`;
  const result = await runCli(['doctor', where, '--json', ...args]);
  const report = result.json() as Report; // what the command says of itself
  const codes = (severity: string): readonly string[] =>
    report.findings.filter((each) => each.severity === severity).map(({ code }) => code);
  const warnings = codes('warning').filter((code) => !code.startsWith('clock-'));
  return { ...result, report, faults: codes('fault'), warnings, codes };
}

function as({ crt, key, ca }: Identity): readonly string[] {
  return ['--cert', crt, '--key', key, '--ca', ca];
}

const trust = ['--ca', root.crt];

describe('it names the fault', () => {
  const faulty: readonly {
    readonly what: string;
    readonly code: string;
    readonly says: RegExp;
    readonly todo: RegExp;
    readonly examine: () => Promise<readonly [port: number, ...args: readonly string[]]>;
  }[] = [
    {
      what: 'a clock that is behind the certificate of the server',
      code: 'server-not-yet-valid',
      says: /valid from .* on; the clock here says/,
      todo: /set it \(NTP/,
      examine: async () => {
        const notBefore = new Date(Date.now() + dayMs);
        const leaf = serverLeaf({ notBefore, notAfter: new Date(Date.now() + 2 * dayMs) });
        return [await broker(leaf), ...trust];
      },
    },
    {
      what: 'a server certificate that has expired',
      code: 'server-expired',
      says: /valid until/,
      todo: /renew/,
      examine: async () => {
        const notBefore = new Date(Date.now() - 2 * dayMs);
        const leaf = serverLeaf({ notBefore, notAfter: new Date(Date.now() - dayMs) });
        return [await broker(leaf), ...trust];
      },
    },
    {
      what: 'an incomplete chain',
      code: 'server-chain-incomplete',
      says: /its own certificate only/,
      todo: /send the issuing CA/,
      examine: async () => [await broker(serverLeaf({}, intermediate)), ...trust],
    },
    {
      what: 'a server of another root',
      code: 'server-other-root',
      says: /ends at "CN=Other Root"/,
      todo: /root of this installation/,
      examine: async () => {
        const leaf = withChain(serverLeaf({}, otherRoot), otherRoot.crt);
        return [await broker(leaf), ...trust];
      },
    },
    {
      what: 'another name',
      code: 'server-name',
      says: /not that of localhost; it has DNS:gateway\.example/,
      todo: /serverNames/,
      examine: async () => {
        const extensions = without('subjectAltName', 'subjectAltName=DNS:gateway.example');
        return [await broker(serverLeaf({ extensions })), ...trust];
      },
    },
    {
      what: "a device's certificate on the server's side",
      code: 'server-wrong-eku',
      says: /without serverAuth/,
      todo: /server certificate/,
      examine: async () => {
        const extensions = without('extendedKeyUsage', 'extendedKeyUsage=clientAuth');
        return [await broker(serverLeaf({ extensions })), ...trust];
      },
    },
    {
      what: 'no common cipher',
      code: 'no-common-cipher',
      says: /the server offers TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA\b/,
      todo: /AEAD/,
      examine: async () => {
        const ciphers = 'ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0';
        return [await broker(serverLeaf(), { ciphers, maxVersion: 'TLSv1.2' }), ...trust];
      },
    },
    {
      what: 'no common group',
      code: 'no-common-group',
      says: /wants (?:P-521|secp521r1)/,
      todo: /X25519 or P-256/,
      examine: async () => [await broker(serverLeaf(), { ecdhCurve: 'P-521' }), ...trust],
    },
    {
      what: 'a server of the last century',
      code: 'no-common-version',
      says: /speaks TLSv1(?:\.1)? at best/,
      todo: /TLS 1\.2 or 1\.3/,
      examine: async () => {
        const ciphers = 'ALL:@SECLEVEL=0';
        const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers } as const;
        return [await broker(serverLeaf(), old), ...trust];
      },
    },
    {
      what: 'a flight that the path loses',
      code: 'flight-lost',
      says: /breaks off after 400 bytes/,
      todo: /MTU/,
      examine: async () => [
        await narrowPath(await broker(serverLeaf()), 400),
        ...trust,
        '--timeout',
        '8s',
      ],
    },
    {
      what: 'a port without TLS',
      code: 'not-tls',
      says: /does not speak TLS/,
      todo: /8883/,
      examine: async () => {
        const plain = createTcpServer((socket) => {
          socket.on('error', () => {});
          socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
        });
        return [await listen(plain)];
      },
    },
    {
      what: 'a port at which nobody listens',
      code: 'nothing-listens',
      says: /nothing listens/,
      todo: /sallyport status/,
      examine: async () => {
        // The port of a client: while it is connected, nobody else can listen there.
        const client = connect(await listen(createTcpServer(ignore)), '127.0.0.1');
        ignore(client);
        holders.push(client);
        await once(client, 'connect');
        assert.ok(client.localPort !== undefined);
        return [client.localPort];
      },
    },
    {
      what: 'a server that takes the connection and says nothing',
      code: 'tls-silent',
      says: /does not answer/,
      todo: /PROXY header/,
      examine: async () => [await listen(createTcpServer(ignore)), '--timeout', '8s'],
    },
    {
      what: 'a device that has been revoked',
      code: 'standing',
      says: /revoked, suspended or quarantined \(MQTT reason code 0x8a\)/,
      todo: /device show/,
      examine: async () => [gateway.mqttsPort, ...as(revoked)],
    },
    {
      what: 'a device that is suspended, over HTTPS',
      code: 'standing',
      says: /HTTP 403/,
      todo: /device show/,
      examine: async () => [gateway.httpsPort, ...as(suspended), '--protocol', 'https'],
    },
    {
      what: 'a client certificate of another CA',
      code: 'client-not-accepted',
      says: /its issuer is no trust anchor/,
      todo: /log of the gateway/,
      examine: async () => {
        const foreign = issueLeaf(otherRoot, folder.at('leaves'), 'foreign', device.ca, {
          subject: '/CN=d1',
        });
        return [gateway.mqttsPort, ...as(foreign)];
      },
    },
    {
      what: 'a client certificate that has expired',
      code: 'client-expired',
      says: /valid until/,
      todo: /renew it/,
      examine: async () => {
        const expired = issueLeaf(root, folder.at('leaves'), 'expired', root.crt, {
          subject: '/CN=d1',
          notBefore: new Date(Date.now() - 2 * dayMs),
          notAfter: new Date(Date.now() - dayMs),
        });
        return [await broker(serverLeaf()), ...as(expired)];
      },
    },
    {
      what: 'a server certificate on the side of the client',
      code: 'client-wrong-eku',
      says: /without clientAuth/,
      todo: /client authentication/,
      examine: async () => [await broker(serverLeaf()), ...as(serverLeaf())],
    },
    {
      what: 'a key of another certificate',
      code: 'key-mismatch',
      says: /does not belong/,
      todo: /enrol the device again/,
      examine: async () => [gateway.mqttsPort, ...as({ ...device, key: suspended.key })],
    },
    {
      what: 'two common names',
      code: 'client-bad-name',
      says: /"d1" and "d2"/,
      todo: /exactly one CN/,
      examine: async () => {
        const two = issueLeaf(root, folder.at('leaves'), 'two', root.crt, {
          subject: '/CN=d1/CN=d2',
        });
        return [await broker(serverLeaf()), ...as(two)];
      },
    },
    {
      what: 'a server that insists on a client certificate in the handshake',
      code: 'certificate-required',
      says: /wants a client certificate/,
      todo: /--cert/,
      examine: async () => {
        return [await strictServer(serverLeaf(), root), ...trust];
      },
    },
    {
      what: 'a server that does not know the issuer, and says so in an alert',
      code: 'client-wrong-issuer',
      says: /does not know the CA/,
      todo: /trustAnchors/,
      examine: async () => {
        const foreign = issueLeaf(otherRoot, folder.at('leaves'), 'stranger', root.crt, {
          subject: '/CN=d1',
        });
        return [await strictServer(serverLeaf(), root), ...as(foreign)];
      },
    },
  ];

  for (const { what, code, says, todo, examine } of faulty) {
    test(what, async () => {
      const [port, ...args] = await examine();
      const { code: exit, report, faults, stderr } = await doctor(port, ...args);
      assert.deepEqual(faults, [code], JSON.stringify(report));
      const found = report.findings.find((each) => each.code === code);
      assert.match(found?.says ?? '', says);
      assert.match(found?.todo ?? '', todo);
      assert.equal(exit, 1);
      assert.equal(report.ok, false);
      assert.match(stderr, /^error: .+; .+\n$/);
    });
  }
});

describe('it finds nothing where nothing is wrong', () => {
  test('over MQTT', async () => {
    const { code, report, faults, warnings, codes, stderr } = await doctor(
      gateway.mqttsPort,
      ...as(device),
    );
    assert.deepEqual([faults, warnings], [[], []], JSON.stringify(report));
    // What is said of the clock hangs on the machine.
    const about = codes('info').filter((each) => each !== 'clock');
    assert.deepEqual(about, [
      'client-certificate',
      'tls',
      'server-certificate',
      'accepted',
      'post-quantum',
    ]);
    assert.equal(report.ok, true);
    assert.equal(code, 0);
    assert.equal(stderr, '');
  });

  test('over HTTPS, in words for people', async () => {
    const args = ['doctor', `localhost:${gateway.httpsPort}`, ...as(device), '--protocol', 'https'];
    const { code, stdout } = await runCli(args);
    assert.equal(code, 0);
    assert.match(stdout, /^ok {7}the client certificate is that of d1, valid until /m);
    assert.match(
      stdout,
      /^ok {7}TLSv1\.3, TLS_\w+, key exchange X25519; the server's flight has \d+ bytes/m,
    );
    assert.match(stdout, /^ok {7}the server lets this device in \(https\)$/m);
  });

  test('over EST, which answers whoever comes', async () => {
    const trusted = ['--ca', device.ca, '--protocol', 'est'];
    const { code, report, faults, codes } = await doctor(gateway.estPort, ...trusted);
    assert.deepEqual([code, faults], [0, []], JSON.stringify(report));
    assert.ok(codes('info').includes('accepted'));
  });

  test('the session that the device has goes on', async () => {
    using session = await RawMqtt.open({ port: gateway.mqttsPort, identity: device });
    await session.connect({ clientId: 'd1' });
    await doctor(gateway.mqttsPort, ...as(device));
    await session.ping();
  });

  test('without a certificate it says what it could not see', async () => {
    const { code, faults, warnings } = await doctor(gateway.mqttsPort);
    assert.deepEqual([code, faults], [0, []]);
    assert.deepEqual(warnings, ['not-verified', 'no-client-certificate']);
  });
});

describe('what cannot be examined is said in one line', () => {
  const wrong: readonly (readonly [
    what: string,
    args: readonly string[],
    said: RegExp,
    exit: number,
  ])[] = [
    ['no port', ['localhost'], /"localhost" is no address; write HOST:PORT/, 2],
    [
      'a certificate without its key',
      ['localhost:1', '--cert', device.crt],
      /goes with its key/,
      2,
    ],
    ['a file that is not there', ['localhost:1', '--ca', folder.at('none')], /cannot read/, 1],
    [
      'a file without a certificate',
      ['localhost:1', '--ca', device.key],
      /no certificate in it/,
      1,
    ],
    [
      'a key that is none',
      ['localhost:1', '--cert', device.crt, '--key', device.crt],
      /no private key/,
      1,
    ],
    [
      'a protocol that it does not speak',
      ['localhost:1', '--protocol', 'amqp'],
      /use one of: mqtt, https, est/,
      2,
    ],
  ];
  for (const [what, args, said, exit] of wrong) {
    test(what, async () => {
      const { code, stderr, stdout } = await runCli(['doctor', ...args]);
      assert.match(stderr, said);
      assert.match(stderr, /^error: [^\n]+\n$/);
      assert.deepEqual([code, stdout], [exit, '']);
    });
  }
});
