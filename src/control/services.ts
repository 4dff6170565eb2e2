/** What the admin API and the command line can do, done: registry, audit log and workers in the right order. */
import type { Clock } from '../common/base/clock.ts';
import { SallyportError } from '../common/base/errors.ts';
import { principalName, principalParts } from '../common/base/principal.ts';
import type { PrincipalKind, PrincipalName, StandingAction } from '../common/base/principal.ts';
import { policyDocumentOf } from '../common/config/policy-of.ts';
import type { SupervisorToControl } from '../common/ipc/messages.ts';
import type { SnapshotChange } from '../common/ipc/snapshot.ts';
import type {
  Actor,
  ControlServices,
  GatewayStatus,
  IssuedIdentity,
  LabIdentity,
  PrincipalView,
  ReloadResult,
  StandingResult,
} from './admin/ports.ts';
import type { AuditLog } from './audit-log/audit-log.ts';
import type { CertificateAuthority } from './ca/authority.ts';
import type { Configuration } from './configuration.ts';
import { Enrolment } from './enrolment/enrolment.ts';
import type { Enrolled, RecordIssue } from './enrolment/enrolment.ts';
import type { Invitations } from './enrolment/invitations.ts';
import type { GatewayMetrics } from './metrics/gateway-metrics.ts';
import type { Identity, RegistryChange } from './registry/records.ts';
import type { Registry } from './registry/registry.ts';
import type { SnapshotPublisher } from './snapshot/publisher.ts';
import type { SupervisorCalls } from './supervisor-calls.ts';
import type { WorkerTable } from './worker-table.ts';

/** Operators have no part in the topic space. */
const operatorRole = 'operator';
/** What takes something away: neither a full disk nor a spoilt log may keep it from the workers. */
const restrictions: ReadonlySet<StandingAction> = new Set(['suspend', 'quarantine', 'revoke']);

export interface ServiceParts {
  readonly clock: Clock;
  readonly welcome: Extract<SupervisorToControl, { type: 'welcome' }>;
  readonly calls: Pick<SupervisorCalls, 'readBundle' | 'replaceProcesses'>;
  readonly authority: CertificateAuthority;
  readonly registry: Registry;
  readonly auditLog: Pick<AuditLog, 'append' | 'read' | 'verify'>;
  readonly publisher: Pick<SnapshotPublisher, 'publish' | 'position' | 'acknowledgedSeq'>;
  readonly workers: Pick<WorkerTable, 'listeners' | 'members' | 'load'>;
  readonly invitations: Invitations;
  readonly configuration: Pick<Configuration, 'current' | 'apply'>;
  readonly metrics: Pick<GatewayMetrics, 'text'>;
}

export class Services implements ControlServices {
  readonly #parts: ServiceParts;
  readonly #enrolment: Enrolment;

  constructor(parts: ServiceParts) {
    this.#parts = parts;
    const { authority, registry, configuration } = parts;
    const { trustDomain } = configuration.current;
    this.#enrolment = new Enrolment({ authority, registry, trustDomain });
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
    return this.#issued(name, this.#enrolment.enrol(name, given, csrPem, record));
  }

  async createLab(
    actor: Actor,
    name: PrincipalName,
    role: string | undefined,
  ): Promise<LabIdentity> {
    const given = this.#roleFor(name, role);
    const record = this.#recordIssue(actor, 'create', name, given);
    const enrolled = this.#enrolment.createLabIdentity(name, given, record);
    return { ...(await this.#issued(name, enrolled)), privateKey: enrolled.privateKey };
  }

  async changeStanding(
    actor: Actor,
    name: PrincipalName,
    action: StandingAction,
    reason: string | undefined,
  ): Promise<StandingResult> {
    const { registry } = this.#parts;
    const standing = registry.standingAfter(name, action);
    const audit = (serials: readonly string[]): void =>
      this.#audit(actor, action, name, { standing, reason, serials: [...serials] });
    const restricts = restrictions.has(action);
    if (!restricts) audit([]);
    const change = registry.changeStanding(name, action, reason);
    const published = this.#publish(change);
    try {
      if (restricts) audit(change.revokedSerials);
    } finally {
      await published;
    }
    const { acknowledged, killed } = await published;
    return { name, standing, acknowledged, killed };
  }

  async inviteOperator(
    actor: Actor,
    id: string,
    ttlMs: number,
  ): Promise<{ token: string; expires: number }> {
    const name = principalName('operator', id);
    const invitation = this.#parts.invitations.invite(name, ttlMs);
    this.#audit(actor, 'invite', name, { expires: new Date(invitation.expires).toISOString() });
    return invitation;
  }

  async redeemInvitation(source: string, token: string, csrPem: string): Promise<IssuedIdentity> {
    const { invitations } = this.#parts;
    const name = invitations.find(token);
    if (name === undefined)
      throw new SallyportError('unauthenticated', 'the invitation is unknown, used or late');
    const record = this.#recordIssue(`invitation:${source}`, 'enrol', name, operatorRole);
    const enrolled = this.#enrolment.enrol(name, operatorRole, csrPem, (certificate) => {
      record(certificate);
      if (!invitations.use(token))
        throw new SallyportError('unauthenticated', 'the invitation is late');
    });
    return this.#issued(name, enrolled);
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
    return this.#parts.authority.summary();
  }

  async exportRoot(actor: Actor) {
    const exported = this.#parts.authority.exportRoot();
    this.#audit(actor, 'export-root', 'ca/root', {});
    return exported;
  }

  async confirmRootExported(actor: Actor): Promise<void> {
    this.#audit(actor, 'discard-root-key', 'ca/root', {});
    this.#parts.authority.discardRootKey();
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

  async #issued(name: PrincipalName, { certificate, change }: Enrolled): Promise<IssuedIdentity> {
    await this.#publish(change);
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
    if (change.revokedSerials.length > 0)
      changes.push({ type: 'revoked', serials: change.revokedSerials });
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
      certificates: this.#parts.registry
        .certificatesOf(identity.name)
        .map(({ serial, notBefore, notAfter, revokedAt }) => ({
          serial,
          notBefore,
          notAfter,
          revokedAt,
        })),
    };
  }
}
