/** What the admin API and the command line can do, done: registry, audit log and workers in the right order. */
import type { Clock } from '../common/base/clock.ts';
import { errorCodeOf, messageOf, SallyportError } from '../common/base/errors.ts';
import { principalName, principalParts } from '../common/base/principal.ts';
import type { PrincipalKind, PrincipalName, StandingAction } from '../common/base/principal.ts';
import { revocationReasonOf, revocationReasons } from '../common/base/revocation-reason.ts';
import { policyDocumentOf } from '../common/config/policy-of.ts';
import type { SupervisorToControl } from '../common/ipc/messages.ts';
import type { SnapshotChange } from '../common/ipc/snapshot.ts';
import type {
  Actor,
  CaRole,
  CommandToSend,
  ControlServices,
  DeadLetterPage,
  DeadLetterSelection,
  GatewayStatus,
  IssuedIdentity,
  KeyToAdd,
  LabIdentity,
  NewEnrolmentToken,
  PrincipalView,
  ReloadResult,
  RotationOrder,
  StandingResult,
} from './admin/ports.ts';
import type { AuditLog } from './audit-log/audit-log.ts';
import type { CaServices } from './ca-services.ts';
import type { CertificateAuthority } from './ca/authority.ts';
import type { Configuration } from './configuration.ts';
import { checkIssued } from './enrolment/check-issued.ts';
import type { Claim } from './enrolment/claim.ts';
import type { Enrolled, Issuance, RecordIssue } from './enrolment/issuance.ts';
import type { Invitations } from './enrolment/invitations.ts';
import type { PendingRequests } from './enrolment/pending-requests.ts';
import type { EnrolmentTokens } from './enrolment/tokens.ts';
import { EnrolmentServices } from './enrolment-services.ts';
import type { KeyServices } from './key-services.ts';
import type { GatewayMetrics } from './metrics/gateway-metrics.ts';
import { assertNotLocalOperator } from './registry/local-operator.ts';
import type { Identity, RegistryChange } from './registry/records.ts';
import type { Registry } from './registry/registry.ts';
import type { RevocationDesk } from './revocation-desk.ts';
import type { SnapshotPublisher } from './snapshot/publisher.ts';
import type { SupervisorCalls } from './supervisor-calls.ts';
import type { WorkerAsks } from './worker-asks.ts';
import { WorkerServices } from './worker-services.ts';
import type { WorkerTable } from './worker-table.ts';

/** Operators have no part in the topic space. */
const operatorRole = 'operator';
/** What takes something away: neither a full disk nor a spoilt log may keep it from the workers. */
const restrictions: ReadonlySet<StandingAction> = new Set(['suspend', 'quarantine', 'revoke']);

export interface ServiceParts {
  readonly clock: Clock;
  readonly welcome: Extract<SupervisorToControl, { type: 'welcome' }>;
  readonly calls: Pick<SupervisorCalls, 'readBundle' | 'replaceProcesses'>;
  readonly authority: Pick<CertificateAuthority, 'rootPem' | 'rootPems' | 'issuers' | 'serverTls'>;
  readonly ca: CaServices;
  readonly registry: Registry;
  readonly auditLog: Pick<AuditLog, 'append' | 'read' | 'verify'>;
  readonly publisher: Pick<
    SnapshotPublisher,
    'publish' | 'publishAddition' | 'position' | 'acknowledgedSeq'
  >;
  readonly workers: Pick<WorkerTable, 'listeners' | 'members' | 'load' | 'spool'>;
  readonly asks: Pick<WorkerAsks, 'ask'>;
  readonly invitations: Invitations;
  readonly issuance: Pick<Issuance, 'issue' | 'createLabIdentity'>;
  readonly tokens: EnrolmentTokens;
  readonly pending: PendingRequests;
  readonly configuration: Pick<Configuration, 'current' | 'apply'>;
  readonly metrics: Pick<GatewayMetrics, 'text'>;
  readonly revocation: Pick<RevocationDesk, 'revoked'>;
  readonly keys: Pick<KeyServices, 'register' | 'list' | 'add' | 'remove'>;
}

export class Services implements ControlServices {
  readonly #parts: ServiceParts;
  readonly #enrolmentServices: EnrolmentServices;
  readonly #workerServices: WorkerServices;

  constructor(parts: ServiceParts) {
    this.#parts = parts;
    this.#enrolmentServices = new EnrolmentServices(parts);
    this.#workerServices = new WorkerServices(parts);
  }

  status(): GatewayStatus {
    const { welcome, publisher, workers, registry, configuration } = this.#parts;
    const { epoch, seq } = publisher.position;
    return {
      version: welcome.version,
      startedAt: welcome.startedAt,
      epoch,
      seq,
      configPath: welcome.bundle.configPath,
      trustDomain: configuration.current.trustDomain,
      listeners: Object.fromEntries(workers.listeners),
      workers: workers.members.map(({ slot, pid }) => ({
        slot,
        pid,
        acknowledgedSeq: publisher.acknowledgedSeq(slot),
        ...workers.load(slot),
      })),
      identities: registry.count(),
      separateUsers: welcome.privileges !== undefined,
    };
  }

  listPrincipals(
    kind: PrincipalKind,
    page: { readonly after: string; readonly limit: number },
  ): readonly PrincipalView[] {
    const after = page.after === '' ? undefined : principalName(kind, page.after);
    const { identities } = this.#parts.registry.list({ kind, after, limit: page.limit });
    return identities.map((identity) => this.#view(identity));
  }

  showPrincipal(name: PrincipalName): PrincipalView {
    const identity = this.#parts.registry.get(name);
    if (identity !== undefined) return this.#view(identity);
    const { kind } = principalParts(name);
    throw new SallyportError('unknown-principal', `${name} is not known`, {
      hint: `see: sallyport ${kind} list`,
    });
  }

  async enrol(
    actor: Actor,
    name: PrincipalName,
    csrPem: string,
    role: string | undefined,
  ): Promise<IssuedIdentity> {
    const given = this.#roleFor(name, role);
    const record = this.#recordIssue(actor, 'enrol', name, given);
    return this.#issue(actor, { right: 'operator', name, role: given }, csrPem, record);
  }

  async createLab(
    actor: Actor,
    name: PrincipalName,
    role: string | undefined,
  ): Promise<LabIdentity> {
    const given = this.#roleFor(name, role);
    const record = this.#recordIssue(actor, 'create', name, given);
    const enrolled = await this.#parts.issuance.createLabIdentity(name, given, record);
    return { ...(await this.#issued(name, enrolled)), privateKey: enrolled.privateKey };
  }

  async changeStanding(
    actor: Actor,
    name: PrincipalName,
    action: StandingAction,
    reason: string | undefined,
  ): Promise<StandingResult> {
    const { registry } = this.#parts;
    const revocationReason = action === 'revoke' ? revocationReasonOf(reason) : undefined;
    const standing = registry.standingAfter(name, action);
    const audit = (serials: readonly string[]): void =>
      this.#audit(actor, action, name, {
        standing,
        reason,
        revocationReason,
        serials: [...serials],
      });
    const restricts = restrictions.has(action);
    if (!restricts) audit([]);
    const code = revocationReasons[revocationReason ?? 'unspecified'];
    const change = registry.changeStanding(name, action, reason, code);
    const published = this.#publish(change);
    try {
      if (restricts) audit(change.revokedSerials);
    } finally {
      await published;
    }
    const { acknowledged, killed } = await published;
    return { name, standing, revocationReason, acknowledged, killed };
  }

  async registerPrincipal(actor: Actor, name: PrincipalName, role: string | undefined) {
    return this.#parts.keys.register(actor, name, this.#roleFor(name, role));
  }

  keys(name: PrincipalName) {
    return this.#parts.keys.list(name);
  }

  async addKey(actor: Actor, name: PrincipalName, order: KeyToAdd) {
    return this.#parts.keys.add(actor, name, order);
  }

  async removeKey(actor: Actor, name: PrincipalName, id: string, reason: string | undefined) {
    return this.#parts.keys.remove(actor, name, id, reason);
  }

  async inviteOperator(
    actor: Actor,
    id: string,
    ttlMs: number,
  ): Promise<{ token: string; expires: number }> {
    const name = principalName('operator', id);
    assertNotLocalOperator(name);
    const invitation = this.#parts.invitations.invite(name, ttlMs);
    this.#audit(actor, 'invite', name, { expires: new Date(invitation.expires).toISOString() });
    return invitation;
  }

  async redeemInvitation(source: string, token: string, csrPem: string): Promise<IssuedIdentity> {
    const { invitations } = this.#parts;
    const name = invitations.find(token);
    if (name === undefined)
      throw new SallyportError('unauthenticated', 'the invitation is unknown, used or late');
    const actor = `invitation:${source}`;
    const record = this.#recordIssue(actor, 'enrol', name, operatorRole);
    const grant = {
      holds: () => invitations.find(token) === name,
      use: () => invitations.use(token),
    };
    const claim = { right: 'invitation', name, role: operatorRole, grant } as const;
    return this.#issue(actor, claim, csrPem, record);
  }

  async createEnrolmentToken(actor: Actor, token: NewEnrolmentToken) {
    return this.#enrolmentServices.createToken(actor, token);
  }

  enrolmentTokens(page: { readonly before: number; readonly limit: number }) {
    return this.#enrolmentServices.tokens(page);
  }

  async withdrawEnrolmentToken(actor: Actor, number: number) {
    return this.#enrolmentServices.withdrawToken(actor, number);
  }

  enrolmentRequests(page: { readonly after: number; readonly limit: number }) {
    return this.#enrolmentServices.requests(page);
  }

  async decideEnrolment(
    actor: Actor,
    number: number,
    decision: 'approved' | 'denied',
    reason: string | undefined,
  ) {
    return this.#enrolmentServices.decide(actor, number, decision, reason);
  }

  async sendCommand(actor: Actor, device: PrincipalName, command: CommandToSend) {
    return this.#workerServices.sendCommand(actor, device, command);
  }

  async spools() {
    return this.#workerServices.spools();
  }

  async deadLetters(route: string, page: DeadLetterPage) {
    return this.#workerServices.deadLetters(route, page);
  }

  async settleDeadLetters(
    actor: Actor,
    action: 'retry' | 'discard',
    route: string,
    selection: DeadLetterSelection,
  ) {
    return this.#workerServices.settleDeadLetters(actor, action, route, selection);
  }

  policy() {
    const { configuration, publisher } = this.#parts;
    return {
      document: policyDocumentOf(configuration.current),
      generation: publisher.position.seq,
    };
  }

  roleOf(name: PrincipalName): string | undefined {
    return this.#parts.registry.get(name)?.role;
  }

  ca() {
    return this.#parts.ca.show();
  }

  checkIssued(page: { readonly after: number; readonly limit: number }) {
    const { trustDomain } = this.#parts.configuration.current;
    return checkIssued({ ...this.#parts, trustDomain }, page);
  }

  async pins(actor: Actor, roles: readonly CaRole[]) {
    return this.#parts.ca.pins(actor, roles);
  }

  async rotateCa(actor: Actor, order: RotationOrder) {
    return this.#parts.ca.rotate(actor, order);
  }

  async exportRoot(actor: Actor) {
    return this.#parts.ca.exportRoot(actor);
  }

  async confirmRootExported(actor: Actor): Promise<void> {
    await this.#parts.ca.confirmRootExported(actor);
  }

  async auditLines(after: number, limit: number) {
    return this.#parts.auditLog.read(after, limit);
  }

  async verifyAuditLog() {
    return this.#parts.auditLog.verify();
  }

  async reload(actor: Actor): Promise<ReloadResult> {
    const { calls, configuration } = this.#parts;
    const { bundle, applied } = await calls.readBundle();
    const result = await configuration.apply(actor, bundle);
    applied();
    return result;
  }

  async replaceProcesses(actor: Actor): Promise<void> {
    this.#audit(actor, 'replace-processes', 'gateway', {});
    await this.#parts.calls.replaceProcesses();
  }

  async metrics(): Promise<string> {
    return this.#parts.metrics.text();
  }

  /** Roles that nobody has defined grant nothing; asking for one is a mistake to be told. */
  #roleFor(name: PrincipalName, asked: string | undefined): string {
    const { kind } = principalParts(name);
    const { registry, configuration } = this.#parts;
    const known = registry.get(name)?.role;
    const role = asked ?? known ?? (kind === 'service' ? undefined : kind);
    const { roles } = configuration.current;
    if (
      role !== undefined &&
      (Object.hasOwn(roles, role) || (kind === 'operator' && role === operatorRole))
    )
      return role;
    throw new SallyportError(
      'usage',
      role === undefined ? 'a service needs a role' : `there is no role "${role}"`,
      {
        hint: `use one of: ${Object.keys(roles).join(', ')}`,
      },
    );
  }

  #recordIssue(actor: Actor, action: string, name: PrincipalName, role: string): RecordIssue {
    return ({ serial, notAfter }) =>
      this.#audit(actor, action, name, {
        serial,
        role,
        notAfter: new Date(notAfter).toISOString(),
      });
  }

  /** A refusal is on record too: whoever asks has been authenticated, so that he cannot fill the log unseen. */
  async #issue(
    actor: Actor,
    claim: Claim,
    csrPem: string,
    record: RecordIssue,
  ): Promise<IssuedIdentity> {
    const { name } = claim;
    try {
      return await this.#issued(name, await this.#parts.issuance.issue(claim, csrPem, record));
    } catch (thrown) {
      if (errorCodeOf(thrown) === 'invalid-csr') {
        const detail = { code: 'invalid-csr', message: messageOf(thrown) };
        this.#audit(actor, 'enrolment-refused', name, detail);
      }
      throw thrown;
    }
  }

  async #issued(name: PrincipalName, { certificate, change }: Enrolled): Promise<IssuedIdentity> {
    await this.#parts.publisher.publishAddition([{ type: 'identity', entry: change.entry }]);
    return {
      name,
      certificateChain: certificate.certificateChain,
      root: this.#parts.authority.rootPem,
      serial: certificate.serial,
      notAfter: certificate.notAfter,
    };
  }

  /** The workers have been told when it returns, and have acknowledged when it resolves. */
  #publish(change: RegistryChange) {
    const changes: SnapshotChange[] = [{ type: 'identity', entry: change.entry }];
    if (change.revokedSerials.length > 0) {
      this.#parts.revocation.revoked(change.revokedSerials);
      changes.push({ type: 'revoked', serials: change.revokedSerials });
    }
    return this.#parts.publisher.publish(changes);
  }

  #audit(
    actor: Actor,
    action: string,
    target: string,
    detail: Parameters<AuditLog['append']>[0]['detail'] & {},
  ): void {
    this.#parts.auditLog.append({ actor, action, target, detail });
  }

  #view(identity: Identity): PrincipalView {
    const { kind, id } = principalParts(identity.name);
    return {
      name: identity.name,
      kind,
      id,
      standing: identity.standing,
      reason: identity.standingReason,
      role: identity.role,
      anchor: identity.anchor,
      createdAt: identity.createdAt,
      seenAt: identity.seenAt,
      clone: this.#parts.registry.cloneOf(identity.name),
      certificates: this.#parts.registry
        .certificatesOf(identity.name)
        .map(({ serial, notBefore, notAfter, revokedAt }) => ({
          serial,
          notBefore,
          notAfter,
          revokedAt,
        })),
      keys: this.#parts.keys.list(identity.name),
    };
  }
}
