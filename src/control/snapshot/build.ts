/** The snapshot from its parts: the configuration, the registry and the CA. */
import type { Config } from '../../common/config/config.ts';
import { policyDocumentOf } from '../../common/config/policy-of.ts';
import type {
  IdentityEntry,
  ListenerSettings,
  Snapshot,
  TlsMaterial,
  TrustAnchor,
} from '../../common/ipc/snapshot.ts';

export interface ServerCredentials {
  /** PEM, leaf first, then the issuing CA. */
  readonly certificateChain: string;
  /** PKCS#8 PEM. */
  readonly privateKey: string;
}

export interface SnapshotParts {
  readonly config: Config;
  readonly identities: readonly IdentityEntry[];
  readonly revokedSerials: readonly string[];
  readonly server: ServerCredentials;
  /** Our own CA. */
  readonly internalAnchor: TrustAnchor;
}

export function buildSnapshot(parts: SnapshotParts): Snapshot {
  const { config, identities, revokedSerials } = parts;
  return {
    policy: policyDocumentOf(config),
    tls: tlsMaterial(parts),
    listeners: listenersOf(config),
    durability: config.durability,
    identities,
    revokedSerials,
    logLevel: config.logs.level,
  };
}

export function tlsMaterial({
  config,
  server,
  internalAnchor,
}: Pick<SnapshotParts, 'config' | 'server' | 'internalAnchor'>): TlsMaterial {
  return {
    certificateChain: server.certificateChain,
    privateKey: server.privateKey,
    minVersion: config.tls.minVersion,
    groups: config.tls.groups,
    anchors: [internalAnchor, ...configuredAnchors(config)],
  };
}

function configuredAnchors(config: Config): TrustAnchor[] {
  return config.ca.trustAnchors.map((anchor) => ({
    name: anchor.name,
    certificates: splitPem(anchor.pem),
    mapping: {
      type: 'rule',
      kind: anchor.kind,
      role: anchor.role,
      from: anchor.from,
      prefix: anchor.prefix,
      autoRegister: anchor.register === 'auto',
    },
  }));
}

function listenersOf(config: Config): ListenerSettings {
  return { mqtts: config.listeners.mqtts };
}

function splitPem(pem: string): string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
}
