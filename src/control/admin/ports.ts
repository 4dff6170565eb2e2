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
import type { DeadLetter, SpoolState } from '../../common/ipc/messages.ts';

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
  /** When it was last found to be used from two addresses, and from which. */
  readonly clone: CloneView | undefined;
  readonly certificates: readonly CertificateView[];
  /** Oldest first, those of certificates last. */
  readonly keys: readonly KeyView[];
}

export interface CloneView {
  readonly at: number;
  readonly addresses: readonly [string, string];
}

export interface CertificateView {
  readonly serial: string;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly revokedAt: number | undefined;
}

/** A key to sign with, and nothing that is secret of it. */
export interface KeyView {
  /** Unique among the keys of its principal. */
  readonly id: string;
  /** What the device calls it on the wire: `d1.k7f3q9xm`, `service:ingest.k7f3q9xm`. */
  readonly keyId: string;
  /** `derived`: by the gateway; `secret`: brought along; `certificate`: good for as long as its certificate. */
  readonly type: 'derived' | 'secret' | 'public' | 'certificate';
  readonly algorithm: 'HMAC-SHA-256' | 'P-256' | 'P-384' | 'Ed25519';
  /** Of a registered public key: SHA-256 of its SubjectPublicKeyInfo, hex. */
  readonly sha256?: string | undefined;
  /** Of all but those of certificates. */
  readonly createdAt?: number | undefined;
  readonly createdBy?: Actor | undefined;
  /** Undefined = until it is removed. */
  readonly notAfter?: number | undefined;
  readonly revokedAt?: number | undefined;
}

export interface KeyToAdd {
  readonly key:
    | { readonly type: 'derived' }
    /** 16 to 64 bytes. `id`: by which the device calls it already. */
    | { readonly type: 'secret'; readonly secret: Buffer; readonly id: string | undefined }
    | { readonly type: 'public'; readonly pem: string; readonly id: string | undefined };
  /** Undefined = until it is removed. */
  readonly ttlMs: number | undefined;
  /** A key whose place it takes, and which holds so much longer. */
  readonly replaces: { readonly id: string; readonly overlapMs: number } | undefined;
}

/** Workers that acknowledged, and those that had to be killed because they were silent. */
export interface Told {
  readonly acknowledged: number;
  readonly killed: number;
}

export interface AddedKey extends KeyView, Told {
  /** Of a derived key: its 32 bytes, hex. Shown this once. */
  readonly key?: string;
  readonly replaced?: KeyView;
}

export type RemovedKey = KeyView & Told;

export interface RegisteredIdentity {
  readonly name: PrincipalName;
  readonly role: string;
  /** False when it was there already, just so. */
  readonly created: boolean;
}

export interface StandingResult {
  readonly name: PrincipalName;
  readonly standing: Standing;
  /** Of revoking: what CRLs and OCSP say (RFC 5280 section 5.3.1). */
  readonly revocationReason: string | undefined;
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
  /** CAs before these under which certificates may still be valid: roots, then issuing CAs, newest first. */
  readonly older: readonly CaCertificateView[];
  /** False after `ca export-root`. */
  readonly rootKeyHere: boolean;
}

export type CaRole = 'root' | 'issuing' | 'server';

/** A key by which firmware may know the gateway. */
export interface PinView {
  readonly role: CaRole;
  /** In service, or used by the next rotation. */
  readonly which: 'current' | 'next';
  /** Base64 of SHA-256 over the SubjectPublicKeyInfo. */
  readonly sha256: string;
  /** PEM of the SubjectPublicKeyInfo. */
  readonly publicKey: string;
}

export interface RotationOrder {
  /** `root` brings a new issuing CA as well. */
  readonly role: CaRole;
  /** Even if devices are cut off by it. */
  readonly force: boolean;
  /** PEM with the root keys that are not on the gateway; they are not kept. */
  readonly rootKeys: string | undefined;
}

export interface RotationResult {
  readonly role: CaRole;
  readonly current: CaCertificateView;
  /** What the operator has to know or to do, a sentence each. */
  readonly warnings: readonly string[];
  /** Workers that acknowledged, and those that had to be killed because they were silent. */
  readonly acknowledged: number;
  readonly killed: number;
}

export interface CaCertificateView {
  readonly subject: string;
  readonly serial: string;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly sha256: string;
  readonly pem: string;
}

export interface IssuedProblem {
  readonly serial: string;
  /** Empty for the gateway's own. */
  readonly principal: string;
  readonly problem: string;
}

export interface CheckedPage {
  readonly checked: number;
  /** Undefined when this page is the last. */
  readonly next: number | undefined;
  readonly problems: readonly IssuedProblem[];
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

export interface CommandToSend {
  /** The topic levels after `devices/<id>/commands/`. */
  readonly name: string;
  readonly payload: Buffer;
  readonly contentType: string | undefined;
}

/** The queue before one backend of a route. */
export interface SpoolView extends SpoolState {
  readonly route: string;
  readonly backend: string;
  /** Scheme, host and port: the rest of a URL may hold a secret. Undefined = no longer configured. */
  readonly origin: string | undefined;
  /** Requests that workers have under way. */
  readonly inFlight: number;
  /** Workers whose breaker is open: they send nothing but a probe now and then. */
  readonly breakersOpen: number;
}

export interface DeadLetterPage {
  /** Undefined = the only one of the route. */
  readonly backend: string | undefined;
  /** Id of the last one of the page before; empty for the first page. */
  readonly after: string;
  readonly limit: number;
}

export interface DeadLetterSelection {
  readonly backend: string | undefined;
  /** Undefined = all. */
  readonly ids: readonly string[] | undefined;
}

export interface NewEnrolmentToken {
  /** Undefined = for any device that does not exist yet. */
  readonly device: string | undefined;
  readonly ttlMs: number;
  /** Certificates that it is good for. */
  readonly uses: number;
}

/** A token that can be used; what it is nobody can say any more. */
export interface EnrolmentTokenView {
  readonly number: number;
  readonly device: PrincipalName | undefined;
  readonly uses: number;
  readonly usesLeft: number;
  readonly createdAt: number;
  readonly createdBy: Actor;
  readonly expires: number;
}

/** A request that waits for an operator, or has been decided and not been fetched. */
export interface EnrolmentRequestView {
  readonly number: number;
  readonly name: PrincipalName;
  readonly role: string;
  /** What it came with: `token:<number>` or `manufacturer`. */
  readonly by: string;
  /** Of the key that is to be certified, hex. */
  readonly spkiSha256: string;
  /** Where it came from, as a worker saw it. */
  readonly source: string;
  readonly state: 'waiting' | 'approved' | 'denied';
  readonly decidedBy: Actor | undefined;
  readonly reason: string | undefined;
  readonly createdAt: number;
  readonly expires: number;
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
  /**
   * An identity without a certificate, which proves by a registered key who it is.
   *
   * @throws SallyportError `usage` for operators and for a role that is none; `wrong-standing`; `already-exists` when it
   *   has another role or anchor.
   */
  registerPrincipal(
    actor: Actor,
    name: PrincipalName,
    role: string | undefined,
  ): Promise<RegisteredIdentity>;
  /** Oldest first, those of certificates last. @throws SallyportError `unknown-principal`. */
  keys(name: PrincipalName): readonly KeyView[];
  /**
   * @throws SallyportError `unknown-principal`; `wrong-standing`; `usage` for a key that is not good enough; `already-exists`
   *   when it is somebody's; `quota`; `not-found` when there is nothing to replace.
   */
  addKey(actor: Actor, name: PrincipalName, order: KeyToAdd): Promise<AddedKey>;
  /** @throws SallyportError `unknown-principal`, `not-found`; `usage` for the key of a certificate. */
  removeKey(
    actor: Actor,
    name: PrincipalName,
    id: string,
    reason: string | undefined,
  ): Promise<RemovedKey>;
  inviteOperator(
    actor: Actor,
    id: string,
    ttlMs: number,
  ): Promise<{ token: string; expires: number }>;
  /** @throws SallyportError `unauthenticated` for an unknown, used or late token; slowed down by the caller's address. */
  redeemInvitation(source: string, token: string, csrPem: string): Promise<IssuedIdentity>;
  /**
   * The token is shown once and kept only as a hash.
   *
   * @throws SallyportError `quota`; `wrong-standing` for a device that cannot enrol.
   */
  createEnrolmentToken(
    actor: Actor,
    token: NewEnrolmentToken,
  ): Promise<{ readonly number: number; readonly token: string; readonly expires: number }>;
  /** Newest first; `before` is the number of the last one of the page before. */
  enrolmentTokens(page: {
    readonly before: number;
    readonly limit: number;
  }): readonly EnrolmentTokenView[];
  /** @throws SallyportError `not-found`. */
  withdrawEnrolmentToken(actor: Actor, number: number): Promise<EnrolmentTokenView>;
  /** Oldest first; `after` is the number of the last one of the page before. */
  enrolmentRequests(page: {
    readonly after: number;
    readonly limit: number;
  }): readonly EnrolmentRequestView[];
  /** @throws SallyportError `not-found`; `already-exists` when it has been decided so already. */
  decideEnrolment(
    actor: Actor,
    number: number,
    decision: 'approved' | 'denied',
    reason: string | undefined,
  ): Promise<EnrolmentRequestView>;
  /**
   * Stored for the device when it resolves.
   *
   * @throws SallyportError `unknown-principal`, `wrong-standing` for a revoked device, `usage` for the name, `too-large`,
   *   `quota` when too much waits for the device, `unavailable`; `timeout` when nobody knows whether it is stored.
   */
  sendCommand(
    actor: Actor,
    device: PrincipalName,
    command: CommandToSend,
  ): Promise<{ readonly id: string }>;
  spools(): Promise<readonly SpoolView[]>;
  /** Oldest first. @throws SallyportError `not-found`; `usage` when the route has several backends and none is named. */
  deadLetters(route: string, page: DeadLetterPage): Promise<readonly DeadLetter[]>;
  /** Puts them back into the queue, or drops them. @throws as `deadLetters`. */
  settleDeadLetters(
    actor: Actor,
    action: 'retry' | 'discard',
    route: string,
    selection: DeadLetterSelection,
  ): Promise<{ readonly messages: number }>;
  policy(): { readonly document: PolicyDocument; readonly generation: number };
  roleOf(name: PrincipalName): string | undefined;
  ca(): CaView;
  /** Judges again what has been issued, oldest first; `after` is the `next` of the page before, 0 for the first. */
  checkIssued(page: { readonly after: number; readonly limit: number }): CheckedPage;
  /** Puts on record that they were shown. @throws SallyportError `io`, `unavailable`. */
  pins(actor: Actor, roles: readonly CaRole[]): Promise<readonly PinView[]>;
  /** @throws SallyportError `usage` when devices would be cut off; `no-key`, `io`, `unavailable`. Nothing has changed then. */
  rotateCa(actor: Actor, order: RotationOrder): Promise<RotationResult>;
  /**
   * Hands out the root keys that are here (PKCS#8 PEM, the present one first, then the next) and removes them, once the
   * caller has confirmed that it has them.
   */
  exportRoot(actor: Actor): Promise<{ readonly privateKey: string; readonly certificate: string }>;
  confirmRootExported(actor: Actor): Promise<void>;
  auditLines(after: number, limit: number): Promise<readonly AuditLine[]>;
  verifyAuditLog(): Promise<AuditVerdict>;
  reload(actor: Actor): Promise<ReloadResult>;
  replaceProcesses(actor: Actor): Promise<void>;
  /** Prometheus text exposition of the whole gateway. */
  metrics(): Promise<string>;
}
