/**
 * A control for tests of the admin API and of the command line: answers from memory and notes what it was asked.
 */
import { SallyportError } from '../../common/base/errors.ts';
import type { PrincipalName, Standing, StandingAction } from '../../common/base/principal.ts';
import { principalParts } from '../../common/base/principal.ts';
import { revocationReasonOf } from '../../common/base/revocation-reason.ts';
import type { PolicyDocument } from '../../common/config/policy-document.ts';
import { wireKeyId } from '../../common/identity/wire-key-id.ts';
import type { DeadLetter } from '../../common/ipc/messages.ts';
import type {
  AuditVerdict,
  CaRole,
  CommandToSend,
  ControlServices,
  DeadLetterPage,
  DeadLetterSelection,
  EnrolmentRequestView,
  EnrolmentTokenView,
  IssuedIdentity,
  IssuedProblem,
  KeyToAdd,
  KeyView,
  NewEnrolmentToken,
  PrincipalView,
  RotationOrder,
  SpoolView,
} from './ports.ts';

const day = 86_400_000;
const epoch = Date.UTC(2026, 10, 1);

function fakeKey(principal: PrincipalName, id: string): KeyView {
  return {
    id,
    keyId: wireKeyId({ principal, id }),
    type: 'derived',
    algorithm: 'HMAC-SHA-256',
    createdAt: epoch,
    createdBy: 'local:0',
  };
}

export class FakeServices implements ControlServices {
  readonly calls: unknown[][] = [];
  readonly principals = new Map<string, PrincipalView>();
  document: PolicyDocument | undefined;
  verdict: AuditVerdict = { ok: true, lines: 3 };
  rootKeyHere = true;
  /** What is wrong with each certificate. */
  issued: (readonly IssuedProblem[])[] = [[]];

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
        https: { host: '0.0.0.0', port: 8443 },
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
    const revocationReason = action === 'revoke' ? revocationReasonOf(reason) : undefined;
    return { name, standing, revocationReason, acknowledged: 2, killed: 0 };
  }

  async registerPrincipal(actor: string, name: PrincipalName, role: string | undefined) {
    this.calls.push(['registerPrincipal', actor, name, role]);
    const created = !this.principals.has(name);
    if (created) this.#issue(name, role);
    return { name, role: role ?? principalParts(name).kind, created };
  }

  keys(name: PrincipalName) {
    return this.showPrincipal(name).keys;
  }

  async addKey(actor: string, name: PrincipalName, order: KeyToAdd) {
    this.calls.push(['addKey', actor, name, order]);
    this.showPrincipal(name);
    const { key, ttlMs, replaces } = order;
    const isDerived = key.type === 'derived';
    return {
      ...fakeKey(name, isDerived ? 'k1' : (key.id ?? 'k1')),
      type: key.type,
      notAfter: ttlMs === undefined ? undefined : epoch + ttlMs,
      ...(isDerived ? { key: '5a'.repeat(32) } : {}),
      ...(replaces === undefined
        ? {}
        : {
            replaced: { ...fakeKey(name, replaces.id), notAfter: epoch + replaces.overlapMs },
          }),
      acknowledged: 2,
      killed: 0,
    };
  }

  async removeKey(actor: string, name: PrincipalName, id: string, reason: string | undefined) {
    this.calls.push(['removeKey', actor, name, id, reason]);
    this.showPrincipal(name);
    return { ...fakeKey(name, id), acknowledged: 2, killed: 0 };
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

  async createEnrolmentToken(actor: string, token: NewEnrolmentToken) {
    this.calls.push(['createEnrolmentToken', actor, token]);
    return { number: 7, token: 'enrolment-token', expires: epoch + token.ttlMs };
  }

  enrolmentTokens({ before }: { before: number }): readonly EnrolmentTokenView[] {
    return [7, 6]
      .filter((number) => number < before)
      .map((number) => ({
        number,
        device: number === 7 ? ('device/d1' as PrincipalName) : undefined, // kind and id are valid as written
        uses: 5,
        usesLeft: 3,
        createdAt: epoch,
        createdBy: 'local:0',
        expires: epoch + day,
      }));
  }

  async withdrawEnrolmentToken(actor: string, number: number) {
    this.calls.push(['withdrawEnrolmentToken', actor, number]);
    const token = this.enrolmentTokens({ before: Infinity }).find((each) => each.number === number);
    if (token !== undefined) return token;
    throw new SallyportError('not-found', `there is no open enrolment token ${number}`);
  }

  enrolmentRequests({ after }: { after: number }): readonly EnrolmentRequestView[] {
    if (after >= 3) return [];
    return [
      {
        number: 3,
        name: 'device/d9' as PrincipalName, // kind and id are valid as written
        role: 'device',
        by: 'token:6',
        spkiSha256: 'ab'.repeat(32),
        source: '192.0.2.9',
        state: 'waiting',
        decidedBy: undefined,
        reason: undefined,
        createdAt: epoch,
        expires: epoch + day,
      },
    ];
  }

  async decideEnrolment(
    actor: string,
    number: number,
    decision: 'approved' | 'denied',
    reason: string | undefined,
  ) {
    this.calls.push(['decideEnrolment', actor, number, decision, reason]);
    const request = this.enrolmentRequests({ after: 0 }).find((each) => each.number === number);
    if (request === undefined) {
      throw new SallyportError('not-found', `there is no enrolment request ${number}`);
    }
    return { ...request, state: decision, decidedBy: actor, reason };
  }

  async sendCommand(actor: string, device: PrincipalName, command: CommandToSend) {
    const { name, payload, contentType } = command;
    this.calls.push(['sendCommand', actor, device, name, payload.toString(), contentType]);
    this.showPrincipal(device);
    return { id: '01-command' };
  }

  async spools(): Promise<readonly SpoolView[]> {
    return [
      {
        spool: 'telemetry/backend',
        route: 'telemetry',
        backend: 'backend',
        origin: 'https://ingest.example',
        waiting: 12,
        bytes: 3456,
        deadLetters: 3,
        inFlight: 2,
        breakersOpen: 1,
      },
    ];
  }

  async deadLetters(route: string, page: DeadLetterPage): Promise<readonly DeadLetter[]> {
    this.calls.push(['deadLetters', route, page]);
    return ['e1', 'e2', 'e3']
      .map((id) => ({
        id,
        // Kind and id are valid as written.
        publisher: 'device/d1' as PrincipalName,
        topic: 'devices/d1/telemetry',
        acceptedAt: epoch,
        refusedAt: epoch + 1000,
        reason: '422 no such sensor',
        bytes: 20,
      }))
      .filter(({ id }) => id > page.after)
      .slice(0, page.limit);
  }

  async settleDeadLetters(
    actor: string,
    action: 'retry' | 'discard',
    route: string,
    selection: DeadLetterSelection,
  ) {
    this.calls.push(['settleDeadLetters', actor, action, route, selection]);
    return { messages: selection.ids?.length ?? 3 };
  }

  policy() {
    if (this.document === undefined) throw new SallyportError('internal', 'no policy in this test');
    return { document: this.document, generation: 7 };
  }

  roleOf(name: PrincipalName) {
    return this.principals.get(name)?.role;
  }

  checkIssued({ after, limit }: { readonly after: number; readonly limit: number }) {
    this.calls.push(['checkIssued', after, limit]);
    const { issued } = this;
    const next = after + limit < issued.length ? after + limit : undefined;
    const page = issued.slice(after, after + limit);
    return { checked: page.length, next, problems: page.flatMap((problems) => problems) };
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
      older: [view('CN=old issuing')],
      rootKeyHere: this.rootKeyHere,
    };
  }

  async pins(actor: string, roles: readonly CaRole[]) {
    this.calls.push(['pins', actor, ...roles]);
    return roles.flatMap((role) =>
      (['current', 'next'] as const).map((which) => ({
        role,
        which,
        sha256: Buffer.alloc(32, which.length).toString('base64'),
        publicKey: `PUBLIC KEY ${role} ${which}\n`,
      })),
    );
  }

  async rotateCa(actor: string, order: RotationOrder) {
    this.calls.push(['rotateCa', actor, order]);
    const warnings = order.force ? ['devices are cut off'] : [];
    return {
      role: order.role,
      current: this.ca()[order.role],
      warnings,
      acknowledged: 2,
      killed: 0,
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
      clone: undefined,
      keys: [fakeKey(name, 'k1')],
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
