/** An HTTPS listener on a real TLS listener, with its surroundings in the hands of a test. */
import { randomBytes, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after } from 'node:test';
import type { TestContext } from 'node:test';
import type { Identity } from './gateway.ts';
import { HttpsDevice } from './https-device.ts';
import type { HttpsOptions } from './https-device.ts';
import { RawHttps } from './https-raw.ts';
import { issueLeaf, makeAuthority } from './openssl.ts';
import { temporaryFolder } from './temporary-folder.ts';
import { systemClock } from '../../src/common/base/clock.ts';
import type { Clock } from '../../src/common/base/clock.ts';
import { SallyportError } from '../../src/common/base/errors.ts';
import { silentLogger } from '../../src/common/base/logger.ts';
import type { PrincipalName } from '../../src/common/base/principal.ts';
import { parsePrincipalName, principalName } from '../../src/common/base/principal.ts';
import type { LimitsDocument } from '../../src/common/config/policy-document.ts';
import type { UpstreamSettings } from '../../src/common/ipc/snapshot.ts';
import { Broker } from '../../src/worker/broker/broker.ts';
import { aloneCrossing } from '../../src/worker/broker/fake-crossing.ts';
import type { Command, CommandMailbox } from '../../src/worker/broker/commands.ts';
import { commandTopicOf } from '../../src/worker/broker/commands.ts';
import type { Message } from '../../src/worker/broker/message.ts';
import { presenceId } from '../../src/worker/broker/session-key.ts';
import { compilePolicy } from '../../src/worker/policy/compile.ts';
import type { IdentityRecord } from '../../src/worker/policy/ports.ts';
import type { Policy } from '../../src/worker/policy/policy.ts';
import { documentOf, LocalRates } from '../../src/worker/policy/test-support.ts';
import type { SecureConnection } from '../../src/worker/transport/secure-connection.ts';
import { SourceAdmission } from '../../src/worker/transport/source-admission.ts';
import { TlsListener } from '../../src/worker/transport/tls-server.ts';
import { Turnstile } from '../../src/worker/transport/turnstile.ts';
import type { Identified } from '../../src/worker/listeners/identified.ts';
import { HttpsListener } from '../../src/worker/listeners/https/listener.ts';
import type { HttpsPorts } from '../../src/worker/listeners/https/ports.ts';
import { Presences } from '../../src/worker/listeners/https/presences.ts';
import { Assertions } from '../../src/worker/listeners/https/proxied/assertions.ts';
import { Upstreams } from '../../src/worker/routes/upstream/upstreams.ts';

const ticketSecret = randomBytes(32);

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
export const authority = makeAuthority(folder.at('ca'), 'Test Root');
const root = readFileSync(authority.crt, 'utf8');
const server = issueLeaf(authority, folder.at('server'), 'gateway', authority.crt, {
  subject: '/CN=gateway',
  extensions: ['extendedKeyUsage=serverAuth', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
});
export const material = {
  certificateChain: readFileSync(server.crt, 'utf8'),
  privateKey: readFileSync(server.key, 'utf8'),
  minVersion: '1.2',
  groups: ['X25519', 'P-256'],
  anchors: [{ name: 'internal', certificates: [root], mapping: { type: 'spiffe' } }],
} as const;

/** Nobody is too fast unless a test is about it. */
const defaultConfig = 'routes: { telemetry: { rate: [] } }';

const identities = new Map<string, Identity>();

/** A certificate whose CN is the id; made once per file. */
export function identityOf(id: string): Identity {
  const known = identities.get(id);
  if (known !== undefined) return known;
  const made = issueLeaf(authority, folder.at('clients'), id, authority.crt, {
    subject: `/CN=${id}`,
  });
  identities.set(id, made);
  return made;
}

/** Commands in memory, in the order in which they came. */
class MemoryMailbox implements CommandMailbox {
  readonly commands = new Map<PrincipalName, Command[]>();
  #last = 0;

  async put(device: PrincipalName, message: Message): Promise<string> {
    this.#last += 1;
    const id = String(this.#last).padStart(6, '0');
    const waiting = this.commands.get(device) ?? [];
    this.commands.set(device, [...waiting, { id, at: Date.now(), message }]);
    return id;
  }

  async list(device: PrincipalName): Promise<readonly Command[]> {
    return this.commands.get(device) ?? [];
  }

  async acknowledge(device: PrincipalName, id: string): Promise<boolean> {
    return this.#keep(device, (command) => command.id !== id) === 1;
  }

  async acknowledgeUpTo(device: PrincipalName, id: string): Promise<number> {
    return this.#keep(device, (command) => command.id > id);
  }

  #keep(device: PrincipalName, keeps: (command: Command) => boolean): number {
    const before = this.commands.get(device) ?? [];
    const kept = before.filter(keeps);
    this.commands.set(device, kept);
    return before.length - kept.length;
  }
}

export interface SurroundingOptions {
  readonly config?: string;
  /** Schemas. */
  readonly files?: Record<string, string>;
  readonly limits?: Partial<LimitsDocument>;
  readonly clock?: Clock;
  readonly ports?: Partial<HttpsPorts>;
}

export class Surroundings {
  readonly counted: string[] = [];
  readonly faults: object[] = [];
  readonly lines: object[] = [];
  readonly published: Message[] = [];
  readonly records = new Map<PrincipalName, IdentityRecord>();
  readonly mailbox = new MemoryMailbox();
  readonly broker: Broker;
  readonly admission: SourceAdmission;
  readonly upstreams: Upstreams;
  readonly assertions: Assertions;
  readonly listener: HttpsListener;
  /** What an accepted message waits for. */
  store: (message: Message) => Promise<void> | undefined = () => undefined;
  fresh = true;
  claims = 0;
  policy: Policy;
  readonly #tls: TlsListener;
  #port = 0;
  #generation = 1;

  constructor({
    config = defaultConfig,
    files,
    limits = {},
    clock = systemClock,
    ports = {},
  }: SurroundingOptions) {
    const document = documentOf(config, files);
    this.policy = compilePolicy(
      { ...document, limits: { ...document.limits, ...limits } },
      this.#generation,
    );
    for (const name of ['device/d1', 'device/d2', 'service/s1']) this.#register(name);
    this.broker = new Broker({ crossing: aloneCrossing(), clock });
    this.admission = new SourceAdmission({ clock, limits: () => this.#limits() });
    const rates = new Map<PrincipalName, LocalRates>();
    const identifyNow = (connection: SecureConnection): Identified => this.identify(connection);
    const logger = {
      ...silentLogger,
      info: (fields: object, message: string) => void this.lines.push({ ...fields, message }),
      error: (fields: object) => void this.faults.push(fields),
    };
    const count = (name: string): void => void this.counted.push(name);
    this.upstreams = new Upstreams({ clock: systemClock, logger: silentLogger, count });
    this.assertions = new Assertions(clock);
    const httpsPorts: HttpsPorts = {
      clock,
      logger,
      broker: this.broker,
      mailbox: this.mailbox,
      intake: {
        store: (message) => {
          const done = this.store(message);
          return done === undefined ? undefined : { message, done };
        },
        publish: (message) => {
          this.published.push(message);
          return this.broker.publish(message);
        },
      },
      policy: () => this.policy,
      limits: () => this.#limits(),
      fresh: () => this.fresh,
      identify: async (connection) => identifyNow(connection),
      identifyNow,
      claim: async (principal) => {
        this.claims += 1;
        const budget = rates.get(principal) ?? new LocalRates(clock);
        rates.set(principal, budget);
        return { rates: budget, release: () => {} };
      },
      signatures: { signedRequest: () => undefined },
      tokens: {
        authenticate: async () => ({
          ok: false,
          code: 'unauthenticated',
          detail: 'there is no issuer',
          challenge: undefined,
        }),
      },
      upstreams: this.upstreams,
      assertions: this.assertions,
      // No token endpoint unless a test has one.
      oauth: {
        credentials: () => undefined,
        call: () => Promise.reject(new SallyportError('unavailable', 'nobody answers')),
        failed: () => {},
        count,
      },
      interestSettled: async () => {},
      acceptMqtt: (connection) => connection.destroy(),
      count,
      ...ports,
    };
    const { claim, limits: currentLimits } = httpsPorts;
    this.listener = new HttpsListener(
      httpsPorts,
      new Presences({ claim, clock, limits: currentLimits, clientId: presenceId('w') }),
    );
    this.#tls = new TlsListener({
      name: 'https',
      applicationProtocols: ['http/1.1'],
      material,
      ticketSecret: () => ticketSecret,
      handshakeMs: 10_000,
      admission: this.admission,
      turnstile: new Turnstile({
        // A clock that a test holds still would hold everybody at the door.
        clock: systemClock,
        limits: () => this.#limits(),
        failures: this.admission.failures,
      }),
      proxies: [],
      proxyHeaderMs: 1_000,
      clock,
      judge: (refusal) => refusal,
      logger: silentLogger,
      count: () => {},
      onSecure: (connection) => this.listener.accept(connection),
    });
  }

  /** Ended with the test, which fails when there was a defect. */
  static async of(t: TestContext, options: SurroundingOptions = {}): Promise<Surroundings> {
    const surroundings = new Surroundings(options);
    surroundings.#port = await surroundings.#tls.listen({ host: '127.0.0.1', port: 0 });
    t.after(async () => {
      const closed = surroundings.#tls.stopAccepting();
      await surroundings.listener.drain(0, 0);
      await surroundings.upstreams.drain(0);
      await closed;
      t.assert.deepEqual(surroundings.faults, []);
    });
    return surroundings;
  }

  options(id: string | undefined): HttpsOptions {
    const identity = id === undefined ? undefined : identityOf(id);
    return { port: this.#port, identity, ca: authority.crt };
  }

  device(t: TestContext, id: string): HttpsDevice {
    const device = new HttpsDevice(this.options(id));
    t.after(() => device[Symbol.dispose]());
    return device;
  }

  async raw(t: TestContext, id: string | null = 'd1'): Promise<RawHttps> {
    const raw = await RawHttps.open(this.options(id ?? undefined));
    t.after(() => raw[Symbol.dispose]());
    return raw;
  }

  /** Where the requests of proxied routes go, as a snapshot would say it. */
  setUpstreams(upstreams: readonly UpstreamSettings[]): void {
    this.upstreams.update(upstreams);
    this.assertions.setUpstreams(upstreams);
  }

  setPolicy(
    config: string,
    listener: 'told' | 'not told yet' = 'told',
    files: Record<string, string> = {},
  ): void {
    this.#generation += 1;
    this.policy = compilePolicy(documentOf(config, files), this.#generation);
    if (listener === 'told') this.listener.policyChanged(undefined);
  }

  setStanding(name: string, standing: IdentityRecord['standing']): void {
    const record = this.record(name);
    record.standing = standing;
    this.listener.standingChanged(new Set([name as PrincipalName])); // one that is registered
  }

  record(name: string): IdentityRecord {
    const parsed = parsePrincipalName(name);
    const record = parsed === undefined ? undefined : this.records.get(parsed.name);
    if (record === undefined) throw new Error(`${name} is not registered`);
    return record;
  }

  /** Stored, then published, as the intake does it. */
  async command(id: string, name: string, payload: string | Buffer): Promise<string> {
    const message: Message = {
      topic: commandTopicOf(id, name),
      payload: Buffer.from(payload),
      qos: 1,
      retain: false,
      properties: {},
      publisher: principalName('service', 's1'),
      publisherSession: '',
      delivery: undefined,
      expiresAt: undefined,
    };
    const stored = await this.mailbox.put(principalName('device', id), message);
    this.broker.publish(message);
    return stored;
  }

  #limits(): LimitsDocument {
    return this.policy.document.limits;
  }

  #register(name: string): void {
    const parsed = parsePrincipalName(name);
    if (parsed === undefined) return;
    const role = parsed.kind === 'device' ? 'device' : 'backend';
    this.records.set(parsed.name, { standing: 'active', role, anchor: 'internal' });
  }

  /** `<anchor>:<serial>`, as the listener knows it. */
  certificateOf(id: string): string {
    return this.factsOf(id).certificate;
  }

  factsOf(id: string): { readonly certificate: string; readonly notAfterMs: number } {
    return factsOf(new X509Certificate(readFileSync(identityOf(id).crt)));
  }

  identify({ peerCertificate, verifyError }: SecureConnection): Identified {
    if (peerCertificate === undefined) return { ok: false, detail: 'no certificate', subject: '' };
    const certificate = new X509Certificate(peerCertificate);
    const subject = certificate.subject;
    const id = subject.replace('CN=', '');
    const kind = id.startsWith('s') ? 'service' : 'device';
    const name = principalName(kind, id);
    const identity = this.records.get(name);
    if (verifyError !== undefined || identity === undefined) {
      return { ok: false, detail: verifyError ?? 'not registered', subject };
    }
    return {
      ok: true,
      name,
      identity,
      certificateRevoked: false,
      subject,
      ...factsOf(certificate),
    };
  }
}

function factsOf({ serialNumber, validToDate }: X509Certificate): {
  readonly certificate: string;
  readonly notAfterMs: number;
} {
  return {
    certificate: `internal:${serialNumber.toLowerCase()}`,
    notAfterMs: validToDate.getTime(),
  };
}
