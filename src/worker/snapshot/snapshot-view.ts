/**
 * What this worker decides with: the last snapshot of control with every delta applied in order. Nothing else writes
 * it. Without a snapshot, or with one that is too old, nobody new is let in.
 */
import type { Clock } from '../../common/base/clock.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { SerialSet, serialBytes } from '../../common/base/serial-set.ts';
import type { PolicyDocument } from '../../common/config/policy-document.ts';
import type { CredentialMaterial, RegisteredKey } from '../../common/ipc/credentials.ts';
import { frameKinds } from '../../common/ipc/frames.ts';
import type { Frame } from '../../common/ipc/frames.ts';
import type { ControlToWorker } from '../../common/ipc/messages.ts';
import type {
  BackendSettings,
  IdentityEntry,
  Snapshot,
  SnapshotChange,
  StatusMaterial,
  TlsMaterial,
  UpstreamSettings,
} from '../../common/ipc/snapshot.ts';

/** Read by every decision about the identity, changed here only. */
export interface LiveIdentity {
  standing: IdentityEntry['standing'];
  role: string;
  anchor: string;
  /** Replaced as a whole: a key that was changed is another object. */
  keys: readonly RegisteredKey[];
}

/** What changed, told after the view has changed. An `undefined` set means that anything may have. */
export interface SnapshotListener {
  onIdentities(names: ReadonlySet<PrincipalName> | undefined): void;
  onRevokedSerials(serials: ReadonlySet<string> | undefined): void;
  /** @throws when the policy cannot be compiled: the frame is then refused and the last good one stays. */
  onPolicy(policy: PolicyDocument): void;
  onTls(tls: TlsMaterial): void;
  onStatus(status: StatusMaterial): void;
  onBackends(backends: readonly BackendSettings[]): void;
  onUpstreams(upstreams: readonly UpstreamSettings[]): void;
  onCredentials(credentials: CredentialMaterial): void;
  onLogLevel(level: string): void;
}

export type Applied = 'applied' | 'ignored' | 'gap';

export class SnapshotView {
  readonly #clock: Clock;
  readonly #listener: SnapshotListener;
  #snapshot: Snapshot | undefined;
  #identities = new Map<PrincipalName, LiveIdentity>();
  #revoked = new Set<string>();
  /** By trust anchor. */
  #revokedLists = new Map<string, readonly SerialSet[]>();
  #epoch = 0;
  #seq = 0;
  /** How old the snapshot was when it was last confirmed, and when that was by a clock that nobody sets. */
  #ageWhenConfirmedMs = 0;
  #confirmedAt = 0;

  constructor(clock: Clock, listener: SnapshotListener) {
    this.#clock = clock;
    this.#listener = listener;
  }

  get position(): { readonly epoch: number; readonly seq: number } {
    return { epoch: this.#epoch, seq: this.#seq };
  }

  get current(): Snapshot | undefined {
    return this.#snapshot;
  }

  /** False when nobody new may be let in: no snapshot yet, or control has not confirmed it for too long. */
  fresh(): boolean {
    if (this.#snapshot === undefined) return false;
    const ageMs = this.#ageWhenConfirmedMs + (this.#clock.monotonic() - this.#confirmedAt);
    return ageMs <= this.#snapshot.policy.limits.maxSnapshotAgeMs;
  }

  identity(name: PrincipalName): LiveIdentity | undefined {
    return this.#identities.get(name);
  }

  isRevoked(anchor: string, serialHex: string): boolean {
    if (this.#revoked.has(`${anchor}:${serialHex}`)) return true;
    const lists = this.#revokedLists.get(anchor);
    if (lists === undefined) return false;
    const serial = serialBytes(serialHex);
    return lists.some((each) => each.has(serial));
  }

  /** @throws what a listener threw: standing has then changed as told, the rest is the last that was good. */
  apply(frame: Frame, message: ControlToWorker): Applied {
    switch (message.type) {
      case 'snapshot':
        if (frame.kind !== frameKinds.snapshot) return 'ignored';
        // Sent before what is already known: taking it would undo revocations.
        if (frame.epoch === this.#epoch && frame.seq < this.#seq) return 'ignored';
        this.#replace(message.snapshot);
        break;
      case 'delta':
        if (frame.kind !== frameKinds.delta) return 'ignored';
        if (this.#snapshot === undefined || frame.epoch !== this.#epoch) return 'gap';
        // Already part of the snapshot that this worker started with.
        if (frame.seq <= this.#seq) return 'ignored';
        if (frame.seq !== this.#seq + 1) return 'gap';
        this.#change(this.#snapshot, message.changes);
        break;
      case 'current':
        if (frame.epoch !== this.#epoch || frame.seq > this.#seq) return 'gap';
        this.#confirm(message.issuedAt);
        return 'ignored';
      case 'reply':
      case 'called':
      case 'ask':
        return 'ignored';
    }
    this.#epoch = frame.epoch;
    this.#seq = frame.seq;
    this.#confirm(message.issuedAt);
    return 'applied';
  }

  #confirm(issuedAt: number): void {
    this.#ageWhenConfirmedMs = Math.max(0, this.#clock.now() - issuedAt);
    this.#confirmedAt = this.#clock.monotonic();
  }

  #replace(snapshot: Snapshot): void {
    const revokedLists = listsOf(snapshot);
    this.#listener.onPolicy(snapshot.policy);
    const before = this.#identities;
    const identities = new Map<PrincipalName, LiveIdentity>();
    for (const entry of snapshot.identities) {
      // Live connections hold the record: it is changed in place.
      const live = before.get(entry.name);
      identities.set(entry.name, live === undefined ? recordOf(entry) : update(live, entry));
    }
    for (const [name, live] of before) {
      if (!identities.has(name)) live.standing = 'revoked';
    }
    this.#identities = identities;
    this.#revoked = new Set(snapshot.revokedSerials);
    this.#revokedLists = revokedLists;
    // They are kept as what they are read into; a secret that was removed is not to be kept here besides.
    this.#snapshot = { ...snapshot, identities: [], revokedSerials: [], revokedLists: [] };
    try {
      this.#listener.onTls(snapshot.tls);
      this.#listener.onStatus(snapshot.status);
      this.#listener.onBackends(snapshot.backends);
      this.#listener.onUpstreams(snapshot.upstreams);
      this.#listener.onCredentials(snapshot.credentials);
      this.#listener.onLogLevel(snapshot.logLevel);
    } finally {
      // Whatever became of the rest: who has lost his standing goes.
      this.#listener.onIdentities(undefined);
      this.#listener.onRevokedSerials(undefined);
    }
  }

  /** Standing first: a policy or a certificate that is refused must not keep a revocation from its effect. */
  #change(snapshot: Snapshot, changes: readonly SnapshotChange[]): void {
    const names = new Set<PrincipalName>();
    const serials = new Set<string>();
    for (const change of changes) this.#changeIdentities(change, names, serials);
    if (names.size > 0) this.#listener.onIdentities(names);
    if (serials.size > 0) this.#listener.onRevokedSerials(serials);
    let next = snapshot;
    for (const change of changes) {
      switch (change.type) {
        case 'policy':
          this.#listener.onPolicy(change.policy);
          next = { ...next, policy: change.policy };
          break;
        case 'tls':
          this.#listener.onTls(change.tls);
          next = { ...next, tls: change.tls };
          break;
        case 'status':
          this.#listener.onStatus(change.status);
          next = { ...next, status: change.status };
          break;
        case 'backends':
          this.#listener.onBackends(change.backends);
          next = { ...next, backends: change.backends };
          break;
        case 'upstreams':
          this.#listener.onUpstreams(change.upstreams);
          next = { ...next, upstreams: change.upstreams };
          break;
        case 'credentials':
          this.#listener.onCredentials(change.credentials);
          next = { ...next, credentials: change.credentials };
          break;
        case 'log-level':
          this.#listener.onLogLevel(change.level);
          next = { ...next, logLevel: change.level };
          break;
        case 'identity':
        case 'identity-gone':
        case 'revoked':
        case 'unrevoked':
          break;
      }
    }
    this.#snapshot = next;
  }

  #unrevoke(certificate: string): void {
    this.#revoked.delete(certificate);
    const colon = certificate.indexOf(':');
    const serial = serialBytes(certificate.slice(colon + 1));
    const lists = this.#revokedLists.get(certificate.slice(0, colon)) ?? [];
    for (const each of lists) each.delete(serial);
  }

  #changeIdentities(change: SnapshotChange, names: Set<PrincipalName>, serials: Set<string>): void {
    if (change.type === 'identity') {
      const live = this.#identities.get(change.entry.name);
      if (live === undefined) this.#identities.set(change.entry.name, recordOf(change.entry));
      else update(live, change.entry);
      names.add(change.entry.name);
    } else if (change.type === 'identity-gone') {
      const live = this.#identities.get(change.name);
      if (live !== undefined) live.standing = 'revoked';
      this.#identities.delete(change.name);
      names.add(change.name);
    } else if (change.type === 'revoked') {
      for (const serial of change.serials) {
        this.#revoked.add(serial);
        serials.add(serial);
      }
    } else if (change.type === 'unrevoked') {
      for (const certificate of change.serials) this.#unrevoke(certificate);
    }
  }
}

function listsOf({ revokedLists }: Snapshot): Map<string, readonly SerialSet[]> {
  const byAnchor = new Map<string, SerialSet[]>();
  for (const { anchor, serials } of revokedLists) {
    const set = SerialSet.unpack(serials);
    const others = byAnchor.get(anchor);
    if (others === undefined) byAnchor.set(anchor, [set]);
    else others.push(set);
  }
  return byAnchor;
}

function recordOf(entry: IdentityEntry): LiveIdentity {
  return {
    standing: entry.standing,
    role: entry.role,
    anchor: entry.anchor,
    keys: entry.keys ?? noKeys,
  };
}

/** One for all that have none. */
const noKeys: readonly RegisteredKey[] = Object.freeze([]);

function update(live: LiveIdentity, entry: IdentityEntry): LiveIdentity {
  live.standing = entry.standing;
  live.role = entry.role;
  live.anchor = entry.anchor;
  live.keys = entry.keys ?? noKeys;
  return live;
}
