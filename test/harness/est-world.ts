/** EST on a CA and a registry of its own, for tests: time stands still until it is set, and everything is noted. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { silentLogger } from '../../src/common/base/logger.ts';
import { principalName } from '../../src/common/base/principal.ts';
import { decodePem } from '../../src/common/codec/der/pem.ts';
import type { EnrolmentConfig, ManufacturerConfig } from '../../src/common/config/config.ts';
import { parseConfig } from '../../src/common/config/parse-config.ts';
import type { EstAnswer } from '../../src/common/ipc/control-calls.ts';
import { createNetworkEnrolment } from '../../src/control/network-enrolment.ts';
import type { CallHandler } from '../../src/control/worker-calls.ts';
import { SallyportError } from '../../src/common/base/errors.ts';
import { ensureAuthority } from '../../src/control/ca/ensure-authority.ts';
import type { CertificateAuthority } from '../../src/control/ca/authority.ts';
import type { AuditEntry } from '../../src/control/audit-log/record.ts';
import { Registry } from '../../src/control/registry/registry.ts';
import { openDatabase } from '../../src/control/store/database.ts';
import { MasterKey } from '../../src/control/store/master-key.ts';
import type { EnrolmentTally } from '../../src/control/enrolment/enrolment-tally.ts';
import type { PendingRequests } from '../../src/control/enrolment/pending-requests.ts';
import type { EnrolmentTokens } from '../../src/control/enrolment/tokens.ts';
import { writeCertificationRequest } from '../../src/control/enrolment/write-request.ts';

export const dayMs = 86_400_000;
const trustDomain = 'fleet.example';

export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Decoded from the base64 of the call. */
  readonly body: string;
}

export interface Device {
  readonly id: string;
  readonly key: KeyObject;
  /** DER. */
  readonly csr: Buffer;
}

/** A new key, and a request for it. */
export function newDevice(id: string, key = newKey()): Device {
  return { id, key, csr: writeCertificationRequest(principalName('device', id), key) };
}

function newKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

const defaults = parseConfig({ configPath: undefined, configText: '', files: {} }).enrolment;

export class EstWorld {
  readonly clock = { ms: Date.now(), now: () => this.clock.ms, monotonic: () => this.clock.ms };
  readonly authority: CertificateAuthority;
  readonly registry: Registry;
  readonly tokens: EnrolmentTokens;
  readonly pending: PendingRequests;
  readonly tally: EnrolmentTally;
  readonly audit: AuditEntry[] = [];
  /** Names of identities, as the workers were told of them. */
  readonly published: string[] = [];
  settings: EnrolmentConfig = { ...defaults, tokens: 100, requests: 100 };
  isDiskFull = false;
  /** When the workers know of what was published. */
  known: Promise<void> = Promise.resolve();
  /** What is waited for, by nobody but the test. */
  readonly timers = new Set<() => void>();
  readonly #est: CallHandler;

  private constructor(authority: CertificateAuthority, databasePath: string, nowMs: number) {
    this.clock.ms = nowMs;
    const { clock } = this;
    const database = openDatabase(databasePath);
    const auditLog = {
      append: (entry: AuditEntry) => {
        if (this.isDiskFull) throw new SallyportError('io', 'the disk is full');
        this.audit.push(entry);
        return { ...entry, seq: 1, at: '', detail: {}, prev: '', hash: '' };
      },
    };
    this.authority = authority;
    this.registry = new Registry(database, clock);
    const { tokens, pending, tally, est } = createNetworkEnrolment({
      database,
      clock,
      logger: silentLogger,
      trustDomain,
      settings: () => this.settings,
      authority,
      registry: this.registry,
      auditLog,
      publish: async ({ identity }) => {
        this.published.push(identity.name);
        await this.known;
      },
      later: (_ms, action) => {
        this.timers.add(action);
        return () => this.timers.delete(action);
      },
    });
    this.tokens = tokens;
    this.pending = pending;
    this.tally = tally;
    this.#est = est;
  }

  /** In the current folder, where the CA's files go: one CA for all worlds there. */
  static async open(databasePath: string): Promise<EstWorld> {
    const nowMs = Date.now();
    const authority = await ensureAuthority({
      masterKey: new MasterKey(Buffer.alloc(32, 1)),
      trustDomain,
      serverNames: ['localhost'],
      clock: { now: () => nowMs, monotonic: () => nowMs },
    });
    return new EstWorld(authority, databasePath, nowMs);
  }

  /** As a worker hands it over; `fields` are those that differ from an enrolment that shows nothing. */
  async ask(fields: Readonly<Record<string, unknown>>, slot = 0): Promise<Reply> {
    const call = {
      what: 'est',
      operation: 'simpleenroll',
      method: 'POST',
      address: '192.0.2.1',
      contentType: 'application/pkcs10',
      ...fields,
    };
    // What the desk says of itself.
    const answer = (await this.#est.answer(slot, call)) as EstAnswer;
    const { status, headers, body } = answer;
    return { status, headers, body: Buffer.from(body, 'base64').toString() };
  }

  /** A token, new. */
  token(device?: string, uses = 1, ttlMs = 3_600_000): string {
    const name = device === undefined ? undefined : principalName('device', device);
    return this.tokens.create({ device: name, uses, ttlMs, createdBy: 'local:0' }).secret;
  }

  enrolBy(token: string, { csr }: Device, address = '192.0.2.1'): Promise<Reply> {
    return this.ask({ authorization: basic(token), body: bodyOf(csr), address });
  }

  withManufacturers(...manufacturers: readonly ManufacturerConfig[]): void {
    this.settings = { ...this.settings, manufacturers };
  }

  certificatesIssued(id: string): number {
    return this.registry.certificatesOf(principalName('device', id)).length;
  }

  refusals(): readonly AuditEntry[] {
    return this.audit.filter(({ action }) => action === 'enrolment-refused');
  }
}

export function basic(token: string, user = ''): string {
  return `Basic ${Buffer.from(`${user}:${token}`).toString('base64')}`;
}

/** The body of a request, twice in base64: once for EST, once for the call. */
export function bodyOf(csr: Buffer): string {
  return Buffer.from(csr.toString('base64')).toString('base64');
}

/** By openssl: what is in the certs-only message of an answer, in its order. */
export function certificatesIn(reply: Reply): X509Certificate[] {
  assert.equal(reply.status, 200, reply.body);
  assert.match(
    reply.headers['content-type'] ?? '',
    /^application\/pkcs7-mime; smime-type=certs-only$/,
  );
  const der = execFileSync('openssl', ['base64', '-d', '-A'], { input: reply.body });
  const pem = execFileSync('openssl', ['pkcs7', '-inform', 'DER', '-print_certs'], { input: der });
  return decodePem('CERTIFICATE', pem.toString()).map((each) => new X509Certificate(each));
}

export function issuedTo(reply: Reply, device: Device): X509Certificate {
  const [certificate, ...others] = certificatesIn(reply);
  assert.ok(certificate !== undefined);
  assert.deepEqual(others, [], 'RFC 7030 section 4.2.3: only the certificate that was issued');
  assert.equal(certificate.subject, `CN=${device.id}`);
  assert.ok(certificate.checkPrivateKey(device.key));
  return certificate;
}

export function assertRefused(reply: Reply, status: number, code: string): void {
  assert.equal(reply.status, status, reply.body);
  assert.ok(reply.body.startsWith(`${code}: `), reply.body);
  assert.match(reply.headers['content-type'] ?? '', /^text\/plain/);
  assert.equal('www-authenticate' in reply.headers, status === 401);
}
