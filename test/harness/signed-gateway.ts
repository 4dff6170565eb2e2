/** A gateway with the HTTPS listener without client certificates, routes of every kind behind it, and a backend that counts. */
import assert from 'node:assert/strict';
import { startGateway } from './gateway.ts';
import type { Gateway } from './gateway.ts';
import type { RawAnswer } from './https-bytes.ts';
import { RawHttps } from './https-raw.ts';
import type { HmacKey } from './iot-signature.ts';
import { UpstreamServer } from './upstream-server.ts';
import type { Ending } from './upstream-server.ts';

const listener = 'httpsSigned: { host: 127.0.0.1, port: 0 }';
/** Of which most tests do not want to hear, and small ones that they can fill. */
const limits =
  'limits: { connect: 12s, signedFailures: 100000, sourceFailures: 100000, unprovenBodyBytes: 4KiB, unprovenBytes: 16KiB }';

export class SignedGateway {
  readonly gateway: Gateway;
  readonly upstream: UpstreamServer;
  /** PEM file to trust. */
  readonly ca: string;

  /** With the device `a1`, which has a certificate. */
  static async of(t: Ending): Promise<SignedGateway> {
    const upstream = await UpstreamServer.of(t);
    const config = configOf(upstream, '[ certificate, signature, device-jwt ]');
    const gateway = await startGateway({ workers: 1, listener, config });
    t.after(() => gateway[Symbol.asyncDispose]());
    const { ca } = await gateway.device('a1');
    return new SignedGateway(gateway, upstream, ca);
  }

  private constructor(gateway: Gateway, upstream: UpstreamServer, ca: string) {
    this.gateway = gateway;
    this.upstream = upstream;
    this.ca = ca;
  }

  get port(): number {
    const { httpsSigned } = this.gateway.run().listeners;
    assert.ok(httpsSigned !== undefined, 'no httpsSigned listener');
    return httpsSigned.port;
  }

  /** Another key of who is registered. */
  async key(
    kind: 'device' | 'service',
    id: string,
    ...options: readonly string[]
  ): Promise<HmacKey> {
    const shown = await this.gateway.ok(kind, 'key', 'add', id, ...options, '--json');
    return shown.json() as HmacKey; // docs/openapi says so
  }

  open(localAddress?: string): Promise<RawHttps> {
    const { port, ca } = this;
    return RawHttps.open({ port, ca, ...(localAddress === undefined ? {} : { localAddress }) });
  }

  /** One request on a connection of its own. */
  async ask(bytes: string): Promise<RawAnswer> {
    using connection = await this.open();
    connection.send(bytes);
    return await connection.answer(bytes.slice(0, bytes.indexOf(' ')));
  }

  /** From now on a signature opens no route but the one that nobody asks. */
  async closeToSignatures(): Promise<void> {
    this.gateway.configure(configOf(this.upstream, '[ certificate, device-jwt ]'), listener);
    await this.gateway.ok('reload');
  }
}

/** @param open ways of proof that most routes take. */
function configOf({ url }: UpstreamServer, open: string): string {
  const hmac = 'integrity: { accept: [ hmac, http-signature ], required: false }';
  const message = (name: string, match: string, more: string): string =>
    `  ${name}: { match: '${match}', ${more} }`;
  const proxied = (name: string, path: string, more = ''): string =>
    `  ${name}: { path: '${path}', upstream: '${url}', ${more} }`;
  return [
    limits,
    'routes:',
    message('telemetry', 'devices/+/telemetry', `authenticate: ${open}, ${hmac}, rate: []`),
    message(
      'status',
      'devices/+/status',
      `authenticate: ${open}, ${hmac}, rate: { limit: 1/h, burst: 2 }`,
    ),
    message('commands', 'devices/+/commands/#', `authenticate: ${open}, ${hmac}`),
    proxied('readings', '/readings/', `authenticate: ${open}, ${hmac}`),
    proxied('own', '/own/${id}/', `authenticate: ${open}, ${hmac}`),
    proxied('closed', '/closed/'),
    proxied(
      'legacy',
      '/legacy/',
      'authenticate: [ signature ], integrity: { accept: [ body-hmac ] }',
    ),
  ].join('\n');
}
