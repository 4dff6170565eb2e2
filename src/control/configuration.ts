/** The configuration in force, and how another one takes its place: whole, or not at all. */
import { isDeepStrictEqual } from 'node:util';
import { messageOf } from '../common/base/errors.ts';
import type { JsonLogger } from '../common/base/json-logger.ts';
import type { ConfigBundle } from '../common/config/config-bundle.ts';
import type { Config } from '../common/config/config.ts';
import { parseConfig } from '../common/config/parse-config.ts';
import { policyDocumentOf } from '../common/config/policy-of.ts';
import type { SnapshotChange, TlsMaterial, TrustAnchor } from '../common/ipc/snapshot.ts';
import type { ReloadResult } from './admin/ports.ts';
import type { AuditLog } from './audit-log/audit-log.ts';
import type { CertificateAuthority, ServerTls } from './ca/authority.ts';
import { tlsMaterial } from './snapshot/build.ts';
import type { SnapshotPublisher } from './snapshot/publisher.ts';

export interface ConfigurationParts {
  readonly config: Config;
  readonly authority: Pick<
    CertificateAuthority,
    'anchor' | 'serverTls' | 'prepareServerTls' | 'commitServerTls'
  >;
  readonly publisher: Pick<SnapshotPublisher, 'publish'>;
  readonly auditLog: Pick<AuditLog, 'append'>;
  readonly logger: JsonLogger;
  /** The server certificate of the authority may be another: take it. */
  readonly onTls: () => void;
}

/**
 * What a running gateway keeps as it is: identities, ports and keys hang on these. They take effect at the next start.
 */
const fixedWhileRunning = [
  'trustDomain',
  'listeners',
  'workers',
  'durability',
  'metrics',
  'ca.masterKey',
  'ca.deviceDays',
  'ca.serverDays',
] as const;

export class Configuration {
  readonly #parts: ConfigurationParts;
  #config: Config;
  #applying: Promise<unknown> = Promise.resolve();

  constructor(parts: ConfigurationParts) {
    this.#parts = parts;
    this.#config = parts.config;
  }

  get current(): Config {
    return this.#config;
  }

  get anchors(): readonly TrustAnchor[] {
    return this.#tls().anchors;
  }

  /**
   * One after the other. In force, here and on its way to the workers, or not at all.
   *
   * @throws SallyportError `invalid-config`, or `io` when it cannot be put on record or the server certificate that it
   *   needs cannot be written; the last good configuration stays.
   */
  async apply(actor: string, bundle: ConfigBundle): Promise<ReloadResult> {
    const result = this.#applying.then(() => this.#apply(actor, parseConfig(bundle)));
    this.#applying = result.catch(() => {});
    return result;
  }

  /** Issues a new server certificate when the old one nears its end. Never throws: it is tried again. */
  renewServerCertificate(): void {
    const { authority, logger } = this.#parts;
    try {
      const prepared = authority.prepareServerTls(this.#config.serverNames);
      if (prepared === undefined) return;
      authority.commitServerTls(prepared);
      logger.info({}, 'server certificate renewed');
    } catch (error) {
      logger.error({ err: messageOf(error) }, 'server certificate not renewed; the old one stays');
      return;
    }
    this.#parts.publisher
      .publish([{ type: 'tls', tls: this.#tls() }])
      .catch((error: unknown) =>
        logger.error({ err: messageOf(error) }, 'workers not told of the new server certificate'),
      );
    this.#changeTls();
  }

  async #apply(actor: string, wanted: Config): Promise<ReloadResult> {
    const { authority, publisher, auditLog, logger } = this.#parts;
    const before = this.#config;
    const next = keepFixed(before, wanted);
    const server = authority.prepareServerTls(next.serverNames);
    const tls = this.#tls(next, server?.tls);
    const hasNewTls = !isDeepStrictEqual(this.#tls(), tls);
    const policy = policyDocumentOf(next);
    const changes: SnapshotChange[] = [];
    const changed: string[] = [];
    if (hasNewTls) {
      changes.push({ type: 'tls', tls });
      changed.push('certificates and trust anchors');
    }
    if (!isDeepStrictEqual(policyDocumentOf(before), policy)) {
      changes.push({ type: 'policy', policy });
      changed.push('policy');
    }
    if (before.logs.level !== next.logs.level) {
      changes.push({ type: 'log-level', level: next.logs.level });
      changed.push('log level');
    }
    const pending = fixedWhileRunning.filter(
      (path) => !isDeepStrictEqual(at(before, path), at(wanted, path)),
    );
    // All that can fail comes before the first thing that takes effect.
    auditLog.append({
      actor,
      action: 'reload',
      target: 'configuration',
      detail: { changed, pending },
    });
    if (server !== undefined) authority.commitServerTls(server);
    this.#config = next;
    logger.setLevel(next.logs.level);
    const published = publisher.publish(changes);
    if (hasNewTls) this.#changeTls();
    await published;
    return { changed, pending };
  }

  /** Only the admin listener hangs on it; all else is in force by now. */
  #changeTls(): void {
    try {
      this.#parts.onTls();
    } catch (error) {
      this.#parts.logger.error({ err: messageOf(error) }, 'the admin listener keeps its old TLS');
    }
  }

  #tls(config: Config = this.#config, server?: ServerTls): TlsMaterial {
    const { authority } = this.#parts;
    return tlsMaterial({
      config,
      server: server ?? authority.serverTls(),
      internalAnchor: authority.anchor,
    });
  }
}

function keepFixed(running: Config, wanted: Config): Config {
  const { masterKey, deviceDays, serverDays } = running.ca;
  return {
    ...wanted,
    trustDomain: running.trustDomain,
    listeners: running.listeners,
    workers: running.workers,
    durability: running.durability,
    metrics: running.metrics,
    ca: { ...wanted.ca, masterKey, deviceDays, serverDays },
  };
}

function at(config: Config, path: (typeof fixedWhileRunning)[number]): unknown {
  return path
    .split('.')
    .reduce<unknown>(
      (value, key) =>
        typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined,
      config,
    );
}
