/** An EST listener on a real TLS listener, with control in the hands of a test. */
import { randomBytes } from 'node:crypto';
import type { TestContext } from 'node:test';
import type { Identity } from './gateway.ts';
import { authority, material } from './https-listener.ts';
import { RawHttps } from './https-raw.ts';
import type { HttpsOptions } from './https-device.ts';
import { systemClock } from '../../src/common/base/clock.ts';
import { silentLogger } from '../../src/common/base/logger.ts';
import type { LimitsDocument } from '../../src/common/config/policy-document.ts';
import type { EstAnswer, EstCall } from '../../src/common/ipc/control-calls.ts';
import { documentOf } from '../../src/worker/policy/test-support.ts';
import { EstListener } from '../../src/worker/listeners/est/listener.ts';
import { SourceAdmission } from '../../src/worker/transport/source-admission.ts';
import { TlsListener } from '../../src/worker/transport/tls-server.ts';
import { Turnstile } from '../../src/worker/transport/turnstile.ts';

const ticketSecret = randomBytes(32);

/** As control answers. */
export function estAnswer(
  status: number,
  text = '',
  headers: Readonly<Record<string, string>> = {},
): EstAnswer {
  return { status, headers, body: Buffer.from(text).toString('base64') };
}

export class EstSurroundings {
  readonly calls: EstCall[] = [];
  readonly counted: string[] = [];
  readonly failed: string[] = [];
  readonly faults: object[] = [];
  readonly lines: object[] = [];
  readonly admission: SourceAdmission;
  readonly listener: EstListener;
  /** What control answers. */
  answer: (call: EstCall) => unknown = () => estAnswer(200, 'issued');
  readonly #tls: TlsListener;
  #port = 0;

  constructor(changed: Partial<LimitsDocument>) {
    const limits: LimitsDocument = { ...documentOf('{}').limits, ...changed };
    this.admission = new SourceAdmission({ clock: systemClock, limits: () => limits });
    this.#tls = new TlsListener({
      name: 'est',
      applicationProtocols: ['http/1.1'],
      material,
      clients: 'any',
      ticketSecret: () => ticketSecret,
      handshakeMs: 10_000,
      admission: this.admission,
      turnstile: new Turnstile({
        clock: systemClock,
        limits: () => limits,
        failures: this.admission.failures,
      }),
      proxies: [],
      proxyHeaderMs: 1_000,
      clock: systemClock,
      judge: (refusal) => refusal,
      logger: silentLogger,
      count: () => {},
      onSecure: (connection) => this.listener.accept(connection),
    });
    this.listener = new EstListener({
      clock: systemClock,
      logger: {
        ...silentLogger,
        info: (fields, message) => void this.lines.push({ ...fields, message }),
        error: (fields) => void this.faults.push(fields),
      },
      limits: () => limits,
      call: async (call) => {
        this.calls.push(call);
        return this.answer(call);
      },
      failed: (address) => void this.failed.push(address),
      count: (name) => void this.counted.push(name),
    });
  }

  /** Ended with the test, which fails when there was a defect. */
  static async of(t: TestContext, limits: Partial<LimitsDocument> = {}): Promise<EstSurroundings> {
    const surroundings = new EstSurroundings(limits);
    surroundings.#port = await surroundings.#tls.listen({ host: '127.0.0.1', port: 0 });
    t.after(async () => {
      const closed = surroundings.#tls.stopAccepting();
      await surroundings.listener.drain(0, 0);
      await closed;
      t.assert.deepEqual(surroundings.faults, []);
    });
    return surroundings;
  }

  options(identity: Identity | undefined): HttpsOptions {
    return { port: this.#port, identity, ca: authority.crt };
  }

  async raw(
    t: TestContext,
    identity?: Identity,
    options: Partial<HttpsOptions> = {},
  ): Promise<RawHttps> {
    const raw = await RawHttps.open({ ...this.options(identity), ...options });
    t.after(() => raw[Symbol.dispose]());
    return raw;
  }
}

/** A request as a client writes it. @param lines header lines besides. */
export function estRequest(operation: string, body?: string, ...lines: readonly string[]): string {
  const method = body === undefined ? 'GET' : 'POST';
  const length = body === undefined ? [] : [`Content-Length: ${Buffer.byteLength(body)}`];
  const head = [`${method} /.well-known/est/${operation} HTTP/1.1`, 'Host: x', ...length, ...lines];
  return `${head.join('\r\n')}\r\n\r\n${body ?? ''}`;
}
