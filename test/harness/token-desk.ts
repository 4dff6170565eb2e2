/** The token endpoint of control with certificates, a registry and a database, and no gateway around it. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { after } from 'node:test';
import { StoppedClock } from './issuance.ts';
import { clientExtensions, issueLeaf, makeAuthority } from './openssl.ts';
import type { Authority } from './openssl.ts';
import { signedJwt } from './signed-jwt.ts';
import { temporaryFolder } from './temporary-folder.ts';
import { SallyportError } from '../../src/common/base/errors.ts';
import { silentLogger } from '../../src/common/base/logger.ts';
import { parsePrincipalName, principalName } from '../../src/common/base/principal.ts';
import type { PrincipalName } from '../../src/common/base/principal.ts';
import { parseCertificate } from '../../src/common/identity/certificate.ts';
import type { RegisteredKey } from '../../src/common/ipc/credentials.ts';
import type { TrustAnchor } from '../../src/common/ipc/snapshot.ts';
import type { AuditEntry } from '../../src/control/audit-log/record.ts';
import { Registry } from '../../src/control/registry/registry.ts';
import { MasterKey } from '../../src/control/store/master-key.ts';
import { migrations } from '../../src/control/store/migrations.ts';
import { AssertionIds } from '../../src/control/tokens/assertion-ids.ts';
import { SigningKeys } from '../../src/control/tokens/signing-keys.ts';
import { TokenDesk } from '../../src/control/tokens/token-desk.ts';
import type { TokenEndpoint } from '../../src/control/tokens/token-desk.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const minuteMs = 60_000;
const trustDomain = 'fleet.example';
export const root = makeAuthority(folder.at('root'), 'Fleet Root');
const acme = makeAuthority(folder.at('acme'), 'Acme Root');
export const stranger = makeAuthority(folder.at('stranger'), 'Fleet Root');

const derOf = (file: string): Buffer => new X509Certificate(readFileSync(file)).raw;
export const spiffeLeaf = (name: string, authority: Authority = root, notAfter?: Date): Buffer => {
  const id = name.slice(name.indexOf('/') + 1);
  const extensions = clientExtensions(`spiffe://${trustDomain}/${name}`);
  const where = folder.at(`${name.replace('/', '-')}-${Math.random()}`);
  const subject = `/CN=${id}`;
  const options =
    notAfter === undefined ? { subject, extensions } : { subject, extensions, notAfter };
  return derOf(issueLeaf(authority, where, id, authority.crt, options).crt);
};
/** Its service is `acme-<name>`. */
export const acmeLeaf = (name: string): Buffer =>
  derOf(issueLeaf(acme, folder.at(`acme-${name}`), name, acme.crt, { subject: `/CN=${name}` }).crt);
export const certificates = {
  ingest: spiffeLeaf('service/ingest'),
  other: spiffeLeaf('service/other'),
  device: spiffeLeaf('device/d1'),
  operator: spiffeLeaf('operator/alice'),
  acme: acmeLeaf('billing'),
};
export const serviceKey = generateKeyPairSync('ec', { namedCurve: 'P-256' });
export const edKey = generateKeyPairSync('ed25519');

const anchors: readonly TrustAnchor[] = [
  { name: 'internal', certificates: [readFileSync(root.crt, 'utf8')], mapping: { type: 'spiffe' } },
  {
    name: 'acme',
    certificates: [readFileSync(acme.crt, 'utf8')],
    mapping: {
      type: 'rule',
      kind: 'service',
      role: 'backend',
      from: 'cn',
      prefix: 'acme-',
      autoRegister: true,
    },
  },
];

export const issuer = 'https://gateway.example:8443';
const jwtBearer = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
export const clientCredentials = { grant_type: 'client_credentials' };

interface Said {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readonly<Record<string, unknown>>;
}

export class TokenBench {
  readonly database = new DatabaseSync(':memory:');
  readonly clock = new StoppedClock();
  readonly registry: Registry;
  readonly keys: SigningKeys;
  readonly audited: AuditEntry[] = [];
  readonly lines: string[] = [];
  readonly registered = new Map<PrincipalName, readonly RegisteredKey[]>();
  readonly revokedElsewhere = new Set<string>();
  endpoint: TokenEndpoint | undefined = {
    issuer,
    audience: 'https://api.example',
    lifeMs: 5 * minuteMs,
    perMinute: 60,
  };
  isAuditFull = false;
  /** Between the look at the registry and the signature. */
  whileSigning: () => void = () => {};
  desk: TokenDesk;

  constructor() {
    for (const step of migrations) this.database.exec(step);
    const { database, clock } = this;
    this.registry = new Registry(database, clock);
    this.keys = new SigningKeys({
      database,
      masterKey: new MasterKey(Buffer.alloc(32, 1)),
      clock,
      logger: silentLogger,
      purpose: 'access-tokens',
      rotationMs: () => 7 * 86_400_000,
      keptMs: 7_200_000,
    });
    this.keys.tend();
    this.enrol('service/ingest', 'internal', certificates.ingest);
    this.enrol('service/other', 'internal', certificates.other);
    this.enrol('device/d1', 'internal', certificates.device);
    this.enrol('operator/alice', 'internal', certificates.operator);
    this.enrol('service/acme-billing', 'acme', certificates.acme);
    this.registered.set(principalName('service', 'ingest'), [
      publicKey('1', serviceKey.publicKey),
      { type: 'derived', id: '2', notAfter: undefined },
      publicKey('3', edKey.publicKey),
    ]);
    this.desk = this.restart();
  }

  restart(): TokenDesk {
    const { clock, registry, database } = this;
    this.desk = new TokenDesk({
      clock,
      logger: {
        ...silentLogger,
        info: (fields, message) => void this.lines.push(`${message} ${JSON.stringify(fields)}`),
        error: (fields, message) => void this.lines.push(`${message} ${JSON.stringify(fields)}`),
      },
      endpoint: () => this.endpoint,
      key: () => {
        this.whileSigning();
        return this.keys.current;
      },
      registry,
      certificates: {
        clock,
        registry,
        anchors: () => anchors,
        trustDomain,
        isRevoked: (anchor, serial) => this.revokedElsewhere.has(`${anchor}:${serial}`),
      },
      assertions: { clock, keysOf: (name) => this.registered.get(name) ?? [] },
      assertionIds: new AssertionIds(database),
      auditLog: {
        append: (entry) => {
          if (this.isAuditFull) throw new SallyportError('io', 'the disk is full');
          this.audited.push(entry);
          return { ...entry, seq: 1, at: '', detail: {}, prev: '', hash: '' };
        },
      },
    });
    return this.desk;
  }

  enrol(name: string, anchor: string, der: Buffer): void {
    const principal = parsePrincipalName(name);
    assert.ok(principal !== undefined);
    const { serialHex: serial, spkiSha256, notBefore, notAfter } = parseCertificate(der);
    const role = principal.kind === 'service' ? 'backend' : principal.kind;
    this.registry.enrol(principal.name, role, anchor, {
      serial,
      spkiSha256,
      notBefore,
      notAfter,
      der,
    });
  }

  async ask(
    parameters: Readonly<Record<string, unknown>>,
    certificate?: Buffer,
    more: Readonly<Record<string, unknown>> = {},
  ): Promise<Said> {
    const { status, headers, body } = await this.desk.answer(0, {
      what: 'token',
      address: '192.0.2.1',
      certificate: certificate?.toString('base64'),
      scheme: undefined,
      parameters,
      ...more,
    });
    const said: unknown = JSON.parse(body);
    assert.ok(typeof said === 'object' && said !== null);
    return { status, headers, body: said as Said['body'] }; // the keys of any object are strings
  }

  async byCertificate(der: Buffer, clientId: string, more: object = {}): Promise<Said> {
    return this.ask({ ...clientCredentials, client_id: clientId, ...more }, der);
  }

  async byAssertion(assertion: string, more: object = {}, certificate?: Buffer): Promise<Said> {
    const shown = { client_assertion_type: jwtBearer, client_assertion: assertion };
    return this.ask({ ...clientCredentials, ...shown, ...more }, certificate);
  }

  /** An assertion that is good, but for what is changed; undefined leaves a member out. */
  assertion(
    claims: object = {},
    header: object = {},
    key: KeyObject = serviceKey.privateKey,
  ): string {
    const now = Math.floor(this.clock.now() / 1_000);
    const full = {
      iss: 'ingest',
      sub: 'ingest',
      aud: issuer,
      jti: `${Math.random()}`,
      iat: now,
      exp: now + 60,
    };
    return signedJwt(
      { alg: 'ES256', kid: 'service:ingest.1', ...header },
      { ...full, ...claims },
      key,
    );
  }
}

export function publicKey(id: string, key: KeyObject, notAfter?: number): RegisteredKey {
  const spki = key.export({ type: 'spki', format: 'der' }).toString('base64');
  return { type: 'public', id, spki, notAfter };
}

export function assertRefused(said: Said, status: number, error: string): void {
  assert.deepEqual([said.status, said.body], [status, { error }]);
}
