/** The configuration in force, and how another one takes its place: whole, or not at all. */
import { isDeepStrictEqual } from 'node:util';
import type { JsonLogger } from '../common/base/json-logger.ts';
import type { ConfigBundle } from '../common/config/config-bundle.ts';
import type { Config } from '../common/config/config.ts';
import { parseConfig } from '../common/config/parse-config.ts';
import { policyDocumentOf } from '../common/config/policy-of.ts';
import type { SnapshotChange, TrustAnchor } from '../common/ipc/snapshot.ts';
import type { ReloadResult } from './admin/ports.ts';
import type { AuditLog } from './audit-log/audit-log.ts';
import type { CertificateAuthority } from './ca/authority.ts';
import { tlsMaterial } from './snapshot/build.ts';
import type { SnapshotPublisher } from './snapshot/publisher.ts';

export interface ConfigurationParts {
  readonly config: Config;
  readonly authority: CertificateAuthority;
  readonly publisher: SnapshotPublisher;
  readonly auditLog: AuditLog;
  readonly logger: JsonLogger;
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

  /** One after the other. @throws SallyportError `invalid-config`; the last good configuration stays. */
  async apply(actor: string, bundle: ConfigBundle): Promise<ReloadResult> {
    const result = this.#applying.then(() => this.#apply(actor, parseConfig(bundle)));
    this.#applying = result.catch(() => {});
    return result;
  }

  /** Issues a new server certificate when the old one nears its end. */
  renewServerCertificate(): void {
    const { authority, logger } = this.#parts;
    if (!authority.renewServerTls(this.#config.serverNames)) return;
    logger.info({}, 'server certificate renewed');
    void this.#publishTls();
  }

  async #apply(actor: string, wanted: Config): Promise<ReloadResult> {
    const { authority, publisher, auditLog, logger } = this.#parts;
    const before = this.#config;
    const next = keepFixed(before, wanted);
    const pending = fixedWhileRunning.filter(
      (path) => !isDeepStrictEqual(at(before, path), at(wanted, path)),
    );
    const changes: SnapshotChange[] = [];
    const changed: string[] = [];
    const tlsBefore = this.#tls();
    this.#config = next;
    authority.renewServerTls(next.serverNames);
    const tls = this.#tls();
    if (!isDeepStrictEqual(tlsBefore, tls)) {
      changes.push({ type: 'tls', tls });
      changed.push('certificates and trust anchors');
    }
    const policy = policyDocumentOf(next);
    if (!isDeepStrictEqual(policyDocumentOf(before), policy)) {
      changes.push({ type: 'policy', policy });
      changed.push('policy');
    }
    if (before.logs.level !== next.logs.level) {
      logger.setLevel(next.logs.level);
      changes.push({ type: 'log-level', level: next.logs.level });
      changed.push('log level');
    }
    auditLog.append({
      actor,
      action: 'reload',
      target: 'configuration',
      detail: { changed, pending },
    });
    this.#parts.onTls();
    await publisher.publish(changes);
    return { changed, pending };
  }

  async #publishTls(): Promise<void> {
    this.#parts.onTls();
    await this.#parts.publisher.publish([{ type: 'tls', tls: this.#tls() }]);
  }

  #tls() {
    const { authority } = this.#parts;
    return tlsMaterial({
      config: this.#config,
      server: authority.serverTls(),
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
