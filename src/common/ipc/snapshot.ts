/**
 * The snapshot: everything a worker decides with. Control is its only author. A delta carries whole replacements of
 * the parts that changed, never edits inside them.
 */
import type { PrincipalKind, PrincipalName, Standing } from '../base/principal.ts';
import type { PolicyDocument } from '../config/policy-document.ts';

export interface Snapshot {
  readonly policy: PolicyDocument;
  readonly tls: TlsMaterial;
  readonly listeners: ListenerSettings;
  readonly durability: Durability;
  readonly identities: readonly IdentityEntry[];
  /** `<anchor name>:<serial in lower-case hex without leading zeros>` of certificates revoked before they expire. */
  readonly revokedSerials: readonly string[];
  readonly logLevel: string;
}

/** What an acknowledgement waits for: `flushed` to disk, or committed so that it survives the death of any `process`. */
export type Durability = 'flushed' | 'process';

export interface IdentityEntry {
  readonly name: PrincipalName;
  readonly standing: Standing;
  /** The role whose rules apply; `device` for devices. */
  readonly role: string;
  /** The trust anchor that may vouch for this identity: `internal`, or the name of a configured anchor. */
  readonly anchor: string;
}

export interface TlsMaterial {
  /** PEM, leaf first, then the issuing CA. */
  readonly certificateChain: string;
  /** PKCS#8 PEM. Never logged, never written but inside the sealed snapshot. */
  readonly privateKey: string;
  readonly minVersion: '1.2' | '1.3';
  /** Key exchange groups in OpenSSL's spelling, most wanted first. */
  readonly groups: readonly string[];
  readonly anchors: readonly TrustAnchor[];
}

/** A CA whose certificates are accepted from clients, and how they name a principal. */
export interface TrustAnchor {
  /** `internal` is our own CA. */
  readonly name: string;
  /** PEM of the root and of every CA that signs clients itself; a chain that a client sends is not followed. */
  readonly certificates: readonly string[];
  readonly mapping: AnchorMapping;
}

/**
 * `spiffe`: our own profile: one SPIFFE SAN URI of our trust domain that agrees with exactly one CN.
 * `rule`: take the id from the named place, match it, and call it `kind`/`prefix` + id.
 */
export type AnchorMapping =
  | { readonly type: 'spiffe' }
  | {
      readonly type: 'rule';
      readonly kind: PrincipalKind;
      readonly role: string;
      readonly from: 'cn' | 'san-dns' | 'san-uri' | 'serial-number';
      /** Text that is put before the id; part of the id that the registry knows. */
      readonly prefix: string;
      /** Identities never seen before are registered by control when they first connect; otherwise refused. */
      readonly autoRegister: boolean;
    };

export interface ListenerSettings {
  readonly mqtts: ListenAddress | false;
}

export interface ListenAddress {
  readonly host: string;
  /** 0 = any free port: the first worker's choice is handed to the others. */
  readonly port: number;
}

export type SnapshotChange =
  | { readonly type: 'identity'; readonly entry: IdentityEntry }
  | { readonly type: 'identity-gone'; readonly name: PrincipalName }
  | { readonly type: 'revoked'; readonly serials: readonly string[] }
  | { readonly type: 'policy'; readonly policy: PolicyDocument }
  | { readonly type: 'tls'; readonly tls: TlsMaterial }
  | { readonly type: 'log-level'; readonly level: string };
