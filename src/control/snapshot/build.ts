/** The snapshot from its parts: the configuration, the registry and the CA. */
import { SallyportError } from '../../common/base/errors.ts';
import { isMlDsa } from '../../common/base/key-kinds.ts';
import type { BackendClient, Config, TrustAnchorConfig } from '../../common/config/config.ts';
import { splitPem } from '../../common/config/pem-problem.ts';
import { policyDocumentOf } from '../../common/config/policy-of.ts';
import type { CredentialMaterial } from '../../common/ipc/credentials.ts';
import type {
  BackendSettings,
  BackendTls,
  IdentityEntry,
  ListenerSettings,
  RevokedList,
  Snapshot,
  StatusMaterial,
  TlsMaterial,
  TrustAnchor,
  UpstreamSettings,
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
  readonly revokedLists: readonly RevokedList[];
  readonly server: ServerCredentials;
  /** Our own CA. */
  readonly internalAnchor: TrustAnchor;
  /** PEM of the authorities of an anchor that are trusted now; none = the anchor is not there. Undefined = all of them. */
  readonly trusted: (anchor: TrustAnchorConfig) => readonly string[] | undefined;
  readonly status: StatusMaterial;
  readonly credentials: CredentialMaterial;
}

export function buildSnapshot(parts: SnapshotParts): Snapshot {
  const { config, identities, revokedSerials, revokedLists, status, credentials } = parts;
  return {
    policy: policyDocumentOf(config),
    tls: tlsMaterial(parts),
    status,
    listeners: listenersOf(config),
    durability: config.durability,
    backends: backendSettings(config),
    upstreams: upstreamSettings(config),
    credentials,
    identities,
    revokedSerials,
    revokedLists,
    logLevel: config.logs.level,
  };
}

export function tlsMaterial({
  config,
  server,
  internalAnchor,
  trusted,
}: Pick<SnapshotParts, 'config' | 'server' | 'internalAnchor' | 'trusted'>): TlsMaterial {
  return {
    certificateChain: server.certificateChain,
    privateKey: server.privateKey,
    minVersion: config.tls.minVersion,
    groups: config.tls.groups,
    algorithms: {
      approvedOnly: config.tls.approvedOnly,
      mlDsa: [config.ca.keyKind, ...config.enrolment.keys].some(isMlDsa),
    },
    anchors: [internalAnchor, ...configuredAnchors(config, trusted)],
  };
}

/** @throws SallyportError `no-key` for a configuration that was read only to be checked. */
export function backendSettings(config: Config): BackendSettings[] {
  return config.backends.map(({ ca, client, ...settings }) => ({
    ...settings,
    tls: peerTls(config, ca, client, `the backend ${settings.spool}`),
  }));
}

/** @throws as `backendSettings`. */
export function upstreamSettings(config: Config): UpstreamSettings[] {
  return config.upstreams.map(({ ca, client, ...settings }) => ({
    ...settings,
    tls: peerTls(config, ca, client, `the upstream of ${settings.route}`),
  }));
}

function peerTls(
  { tls: { approvedOnly } }: Config,
  ca: string | undefined,
  client: BackendClient | undefined,
  whose: string,
): BackendTls {
  if (client === undefined) return { ca, client, approvedOnly };
  const { certificate, privateKey } = client;
  if (privateKey === undefined) {
    throw new SallyportError('no-key', `the key of ${whose} was not read`);
  }
  return { ca, client: { certificate, privateKey }, approvedOnly };
}

function configuredAnchors(config: Config, trusted: SnapshotParts['trusted']): TrustAnchor[] {
  return config.ca.trustAnchors.flatMap((anchor): TrustAnchor[] => {
    const certificates = trusted(anchor) ?? splitPem(anchor.pem);
    if (certificates.length === 0) return [];
    const mapping = {
      type: 'rule',
      kind: anchor.kind,
      role: anchor.role,
      from: anchor.from,
      prefix: anchor.prefix,
      autoRegister: anchor.register === 'auto',
    } as const;
    return [{ name: anchor.name, certificates, mapping }];
  });
}

function listenersOf(config: Config): ListenerSettings {
  const { mqtts, https, est, status, httpsSigned, mqttsSigned } = config.listeners;
  return { mqtts, https, est, status, httpsSigned, mqttsSigned };
}
