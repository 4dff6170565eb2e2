/**
 * A control for tests of the admin API and of the command line: answers from memory and notes what it was asked.
 */
import { SallyportError } from '../../common/base/errors.ts';
import type { PrincipalName, Standing, StandingAction } from '../../common/base/principal.ts';
import { principalParts } from '../../common/base/principal.ts';
import type { PolicyDocument } from '../../common/config/policy-document.ts';
import type { AuditVerdict, ControlServices, IssuedIdentity, PrincipalView } from './ports.ts';

const day = 86_400_000;
const epoch = Date.UTC(2026, 10, 1);

export class FakeServices implements ControlServices {
  readonly calls: unknown[][] = [];
  readonly principals = new Map<string, PrincipalView>();
  document: PolicyDocument | undefined;
  verdict: AuditVerdict = { ok: true, lines: 3 };
  rootKeyHere = true;

  status() {
    return {
      version: '0.1.0',
      startedAt: epoch,
      epoch: 1,
      seq: 42,
      configPath: undefined,
      trustDomain: 'fleet.example',
      listeners: {
        mqtts: { host: '0.0.0.0', port: 8883 },
        admin: { host: '127.0.0.1', port: 9443 },
      },
      workers: [{ slot: 0, pid: 4711, acknowledgedSeq: 42, connections: 2, sessions: 1 }],
      identities: { device: 2, service: 1, operator: 0 },
      separateUsers: false,
    };
  }

  listPrincipals(kind: string, page: { after: string; limit: number }) {
    return [...this.principals.values()]
      .filter((view) => view.kind === kind && view.id > page.after)
      .slice(0, page.limit);
  }

  showPrincipal(name: PrincipalName) {
    const view = this.principals.get(name);
    if (view !== undefined) return view;
    throw new SallyportError('unknown-principal', `${name} is not known`, {
      hint: 'enrol it first',
    });
  }

  async enrol(actor: string, name: PrincipalName, csrPem: string, role: string | undefined) {
    this.calls.push(['enrol', actor, name, csrPem, role]);
    if (!csrPem.includes('CERTIFICATE REQUEST')) {
      throw new SallyportError('invalid-csr', 'this is no certificate request', {
        hint: 'make one with openssl req',
      });
    }
    return this.#issue(name, role);
  }

  async createLab(actor: string, name: PrincipalName, role: string | undefined) {
    this.calls.push(['createLab', actor, name, role]);
    return { ...this.#issue(name, role), privateKey: `KEY OF ${name}\n` };
  }

  async changeStanding(
    actor: string,
    name: PrincipalName,
    action: StandingAction,
    reason: string | undefined,
  ) {
    this.calls.push(['changeStanding', actor, name, action, reason]);
    const view = this.showPrincipal(name);
    const standing: Standing = action === 'revoke' ? 'revoked' : 'active';
    this.principals.set(name, { ...view, standing, reason });
    return { name, standing, acknowledged: 2, killed: 0 };
  }

  async inviteOperator(actor: string, id: string, ttlMs: number) {
    this.calls.push(['inviteOperator', actor, id, ttlMs]);
    return { token: 'token-of-32-characters', expires: epoch + ttlMs };
  }

  async redeemInvitation(source: string, token: string, csrPem: string) {
    this.calls.push(['redeemInvitation', source, token, csrPem]);
    if (token !== 'token-of-32-characters') {
      throw new SallyportError('unauthenticated', 'no such invitation: a detail for the log');
    }
    // Kind and id are valid as written.
    return this.#issue('operator/ann' as PrincipalName, undefined);
  }

  policy() {
    if (this.document === undefined) throw new SallyportError('internal', 'no policy in this test');
    return { document: this.document, generation: 7 };
  }

  roleOf(name: PrincipalName) {
    return this.principals.get(name)?.role;
  }

  ca() {
    const view = (subject: string) => ({
      subject,
      serial: '0a',
      notBefore: epoch,
      notAfter: epoch + 365 * day,
      sha256: 'ab'.repeat(32),
      pem: `CERTIFICATE OF ${subject}\n`,
    });
    return {
      root: view('CN=root'),
      issuing: view('CN=issuing'),
      server: view('CN=gateway'),
      rootKeyHere: this.rootKeyHere,
    };
  }

  async exportRoot(actor: string) {
    this.calls.push(['exportRoot', actor]);
    return { privateKey: 'ROOT KEY\n', certificate: 'ROOT CERTIFICATE\n' };
  }

  async confirmRootExported(actor: string) {
    this.calls.push(['confirmRootExported', actor]);
    this.rootKeyHere = false;
  }

  async auditLines(after: number, limit: number) {
    const at = new Date(epoch).toISOString();
    return [1, 2, 3]
      .map((seq) => ({
        seq,
        at,
        actor: 'local:0',
        action: 'device.create',
        target: `device/d${seq}`,
        detail: { role: 'device' },
      }))
      .filter((line) => line.seq > after)
      .slice(0, limit);
  }

  async verifyAuditLog() {
    return this.verdict;
  }

  async reload(actor: string) {
    this.calls.push(['reload', actor]);
    return { changed: ['roles.backend'], pending: ['listeners.mqtts.port'] };
  }

  async replaceProcesses(actor: string) {
    this.calls.push(['replaceProcesses', actor]);
  }

  async metrics() {
    return 'sallyport_up 1\n';
  }

  #issue(name: PrincipalName, role: string | undefined): IssuedIdentity {
    const { kind, id } = principalParts(name);
    const serial = (this.principals.size + 1).toString(16).padStart(2, '0');
    this.principals.set(name, {
      name,
      kind,
      id,
      standing: 'active',
      reason: undefined,
      role: role ?? kind,
      anchor: 'internal',
      createdAt: epoch,
      seenAt: undefined,
      certificates: [
        { serial, notBefore: epoch, notAfter: epoch + 365 * day, revokedAt: undefined },
      ],
    });
    return {
      name,
      certificateChain: `CERTIFICATE OF ${name}\n`,
      root: 'ROOT CERTIFICATE\n',
      serial,
      notAfter: epoch + 365 * day,
    };
  }
}
