/**
 * What the admin API needs from the rest of control; control's composition root fits it. Every method that changes
 * something has written its audit line, and standing changes have been acknowledged by every worker (or the worker has
 * been killed), before the promise resolves.
 */
import type {
  PrincipalKind,
  PrincipalName,
  Standing,
  StandingAction,
} from '../../common/base/principal.ts';
import type { PolicyDocument } from '../../common/config/policy-document.ts';

/** Who acts, for the audit log: `local:<uid>` over the Unix socket, `operator/<name>` by certificate. */
export type Actor = string;

export interface IssuedIdentity {
  readonly name: PrincipalName;
  /** PEM: leaf, then the issuing CA. */
  readonly certificateChain: string;
  /** PEM of the root. */
  readonly root: string;
  readonly serial: string;
  readonly notAfter: number;
}

export interface LabIdentity extends IssuedIdentity {
  /** PKCS#8 PEM; made on the server, for laboratories only. */
  readonly privateKey: string;
}

export interface PrincipalView {
  readonly name: PrincipalName;
  readonly kind: PrincipalKind;
  readonly id: string;
  readonly standing: Standing;
  readonly reason: string | undefined;
  readonly role: string;
  readonly anchor: string;
  readonly createdAt: number;
  readonly seenAt: number | undefined;
  readonly certificates: readonly CertificateView[];
}

export interface CertificateView {
  readonly serial: string;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly revokedAt: number | undefined;
}

export interface StandingResult {
  readonly name: PrincipalName;
  readonly standing: Standing;
  /** Workers that acknowledged, and those that had to be killed because they were silent. */
  readonly acknowledged: number;
  readonly killed: number;
}

export interface GatewayStatus {
  readonly version: string;
  readonly startedAt: number;
  readonly epoch: number;
  readonly seq: number;
  readonly configPath: string | undefined;
  readonly trustDomain: string;
  readonly listeners: Readonly<Record<string, { readonly host: string; readonly port: number }>>;
  readonly workers: readonly {
    readonly slot: number;
    readonly pid: number;
    readonly acknowledgedSeq: number;
    readonly connections: number;
    readonly sessions: number;
  }[];
  readonly identities: Readonly<Record<PrincipalKind, number>>;
  /** True when supervisor, control and workers run as different users. */
  readonly separateUsers: boolean;
}

export interface CaView {
  readonly root: CaCertificateView;
  readonly issuing: CaCertificateView;
  readonly server: CaCertificateView;
  /** False after `ca export-root`. */
  readonly rootKeyHere: boolean;
}

export interface CaCertificateView {
  readonly subject: string;
  readonly serial: string;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly sha256: string;
  readonly pem: string;
}

export interface AuditLine {
  readonly seq: number;
  readonly at: string;
  readonly actor: string;
  readonly action: string;
  readonly target: string;
  readonly detail: unknown;
}

export interface AuditVerdict {
  readonly ok: boolean;
  readonly lines: number;
  /** The first line that does not hold (1-based), and why. */
  readonly line?: number;
  readonly problem?: string;
}

export interface ReloadResult {
  /** What changed, in words; empty when nothing did. */
  readonly changed: readonly string[];
  /** Settings that changed but take effect only after `reload --processes` or a restart. */
  readonly pending: readonly string[];
}

export interface ControlServices {
  status(): GatewayStatus;
  listPrincipals(
    kind: PrincipalKind,
    page: { readonly after: string; readonly limit: number },
  ): readonly PrincipalView[];
  /** @throws SallyportError `unknown-principal`. */
  showPrincipal(name: PrincipalName): PrincipalView;
  enrol(
    actor: Actor,
    name: PrincipalName,
    csrPem: string,
    role: string | undefined,
  ): Promise<IssuedIdentity>;
  createLab(actor: Actor, name: PrincipalName, role: string | undefined): Promise<LabIdentity>;
  changeStanding(
    actor: Actor,
    name: PrincipalName,
    action: StandingAction,
    reason: string | undefined,
  ): Promise<StandingResult>;
  /** A one-time enrolment for an operator; the token is shown once and kept only as a hash. */
  inviteOperator(
    actor: Actor,
    id: string,
    ttlMs: number,
  ): Promise<{ token: string; expires: number }>;
  /** @throws SallyportError `unauthenticated` for an unknown, used or late token; slowed down by the caller's address. */
  redeemInvitation(source: string, token: string, csrPem: string): Promise<IssuedIdentity>;
  policy(): { readonly document: PolicyDocument; readonly generation: number };
  roleOf(name: PrincipalName): string | undefined;
  ca(): CaView;
  /** Hands out the root key (PKCS#8 PEM) and removes it from disk, once the caller has confirmed that it has it. */
  exportRoot(actor: Actor): Promise<{ readonly privateKey: string; readonly certificate: string }>;
  confirmRootExported(actor: Actor): Promise<void>;
  auditLines(after: number, limit: number): Promise<readonly AuditLine[]>;
  verifyAuditLog(): Promise<AuditVerdict>;
  reload(actor: Actor): Promise<ReloadResult>;
  replaceProcesses(actor: Actor): Promise<void>;
  /** Prometheus text exposition of the whole gateway. */
  metrics(): Promise<string>;
}
