/** The configuration in force, and how another one takes its place: whole, or not at all. */
import { isDeepStrictEqual } from 'node:util';
import { messageOf } from '../common/base/errors.ts';
import type { JsonLogger } from '../common/base/json-logger.ts';
import type { ConfigBundle } from '../common/config/config-bundle.ts';
import type { Config } from '../common/config/config.ts';
import { configWarnings } from '../common/config/config-warnings.ts';
import { parseConfig } from '../common/config/parse-config.ts';
import { policyDocumentOf } from '../common/config/policy-of.ts';
import type { SnapshotChange, TlsMaterial, TrustAnchor } from '../common/ipc/snapshot.ts';
import type { ReloadResult } from './admin/ports.ts';
import type { AuditLog } from './audit-log/audit-log.ts';
import type { CertificateAuthority, ServerTls } from './ca/authority.ts';
import type { ExternalCrls } from './revocation/external/external-crls.ts';
import { backendSettings, tlsMaterial, upstreamSettings } from './snapshot/build.ts';
import { takesSignatures } from './snapshot/takes-signatures.ts';
import { additionMs } from './snapshot/publisher.ts';
import type { Acknowledgement, SnapshotPublisher } from './snapshot/publisher.ts';

export interface ConfigurationParts {
  readonly config: Config;
  readonly authority: Pick<
    CertificateAuthority,
    'anchor' | 'serverTls' | 'prepareServerTls' | 'commitServerTls'
  >;
  readonly publisher: Pick<SnapshotPublisher, 'publish' | 'publishSnapshot'>;
  readonly auditLog: Pick<AuditLog, 'append'>;
  readonly logger: JsonLogger;
  /** Revocation lists of the configured anchors: which of their authorities are trusted now. */
  readonly crls: Pick<ExternalCrls, 'trusted' | 'configure'>;
  /** Looks at `current` anew, and tells the workers what it says of tokens. MUST not throw nor reject. */
  readonly tokens: { readonly configure: () => Promise<void> };
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
  'tls.ticketRotationMs',
  'ca.masterKey',
  'ca.keyKind',
  'ca.pkcs11',
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

  /** Issues a new server certificate when the old one nears its end. Never rejects: it is tried again. */
  async renewServerCertificate(): Promise<void> {
    const renewed = this.#applying.then(() => this.#renewServerCertificate());
    this.#applying = renewed;
    return renewed;
  }

  async #renewServerCertificate(): Promise<void> {
    const { authority, logger } = this.#parts;
    try {
      const prepared = await authority.prepareServerTls(this.#config.serverNames);
      if (prepared === undefined) return;
      await authority.commitServerTls(prepared);
      logger.info({}, 'server certificate renewed');
    } catch (error) {
      logger.error({ err: messageOf(error) }, 'server certificate not renewed; the old one stays');
      return;
    }
    this.#publishTls('workers not told of the new server certificate');
    this.#changeTls();
  }

  /**
   * Certificates are accepted from other authorities than before, because their revocation lists say so.
   *
   * @param withdrawn from some no longer; else a worker that is late with it has time.
   */
  trustChanged(withdrawn = true): void {
    const limitMs = withdrawn ? undefined : additionMs;
    this.#publishTls('workers not told whose certificates are accepted', limitMs);
  }

  /**
   * Between two reloads: `rotate`, whose `announce` resolves when the workers trust what is trusted then, and after it a
   * server certificate of the CA that issues now.
   *
   * @param serverKey `next` gives the server its next key. @returns when every worker serves it.
   * @throws what `rotate` throws; SallyportError as `prepareServerTls` when nothing else was to be rotated.
   */
  async rotate(
    rotate: ((announce: () => Promise<void>) => Promise<void>) | undefined,
    serverKey?: 'next',
  ): Promise<Acknowledgement> {
    const result = this.#applying.then(() => this.#rotate(rotate, serverKey));
    this.#applying = result.catch(() => {});
    return result;
  }

  async #rotate(
    rotate: ((announce: () => Promise<void>) => Promise<void>) | undefined,
    serverKey: 'next' | undefined,
  ): Promise<Acknowledgement> {
    const { authority, publisher, logger } = this.#parts;
    const tell = async (): Promise<Acknowledgement> =>
      publisher.publish([{ type: 'tls', tls: this.#tls() }]);
    await rotate?.(async () => {
      this.#changeTls();
      await tell().catch((error: unknown) =>
        logger.error({ err: messageOf(error) }, 'workers not told of the new CA'),
      );
    });
    try {
      const prepared = await authority.prepareServerTls(this.#config.serverNames, serverKey);
      if (prepared !== undefined) await authority.commitServerTls(prepared);
    } catch (error) {
      if (rotate === undefined) throw error;
      // The CA before still vouches for the one in service; it is tried again with every look at its life.
      logger.error({ err: messageOf(error) }, 'server certificate not renewed; the old one stays');
    }
    const published = tell();
    this.#changeTls();
    return published;
  }

  #publishTls(failure: string, limitMs?: number): void {
    const { publisher, logger } = this.#parts;
    publisher
      .publish([{ type: 'tls', tls: this.#tls() }], limitMs)
      .catch((error: unknown) => logger.error({ err: messageOf(error) }, failure));
  }

  async #apply(actor: string, wanted: Config): Promise<ReloadResult> {
    const { authority, publisher, auditLog, logger } = this.#parts;
    const before = this.#config;
    const next = keepFixed(before, wanted);
    const server = await authority.prepareServerTls(next.serverNames);
    const tls = this.#tls(next, server?.tls);
    const hasNewTls = !isDeepStrictEqual(this.#tls(), tls);
    const policy = policyDocumentOf(next);
    const backends = backendSettings(next);
    const upstreams = upstreamSettings(next);
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
    if (!isDeepStrictEqual(backendSettings(before), backends)) {
      changes.push({ type: 'backends', backends });
      changed.push('backends');
    }
    const hasNewUpstreams = !isDeepStrictEqual(upstreamSettings(before), upstreams);
    if (hasNewUpstreams) {
      changes.push({ type: 'upstreams', upstreams });
      changed.push('upstreams');
    }
    const hasNewTokens = !isDeepStrictEqual(tokensOf(before), tokensOf(next));
    if (hasNewTokens) changed.push('tokens');
    if (before.logs.level !== next.logs.level) {
      changes.push({ type: 'log-level', level: next.logs.level });
      changed.push('log level');
    }
    if (!isDeepStrictEqual(listsOf(before), listsOf(next))) changed.push('revocation lists');
    if (!isDeepStrictEqual(statusOf(before), statusOf(next))) changed.push('CRL and OCSP');
    if (!isDeepStrictEqual(before.enrolment, next.enrolment)) changed.push('enrolment');
    const pending = fixedWhileRunning
      .filter((path) => !isDeepStrictEqual(at(before, path), at(wanted, path)))
      .map((path) => path.replace(/Ms$/u, ''));
    // All that can fail comes before the first thing that takes effect.
    auditLog.append({
      actor,
      action: 'reload',
      target: 'configuration',
      detail: { changed, pending },
    });
    if (server !== undefined) await authority.commitServerTls(server);
    this.#config = next;
    logger.setLevel(next.logs.level);
    // Keys of certificates come or go: before the changes, so that whoever has acknowledged those has them.
    if (takesSignatures(before) !== takesSignatures(next)) publisher.publishSnapshot();
    const published = publisher.publish(changes);
    // An upstream may be the first, or the last, that wants it signed who is asking.
    const told = hasNewTokens || hasNewUpstreams ? this.#parts.tokens.configure() : undefined;
    this.#parts.crls.configure(next.ca.trustAnchors);
    if (hasNewTls) this.#changeTls();
    for (const warning of configWarnings(next)) logger.warn({}, warning);
    await published;
    await told;
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
      trusted: (anchor) => this.#parts.crls.trusted(anchor),
    });
  }
}

function listsOf(config: Config): unknown {
  return config.ca.trustAnchors.map(({ name, crl }) => ({ name, crl }));
}

function statusOf({ ca: { statusUrl, crl, ocsp } }: Config): unknown {
  return { statusUrl, crl, ocsp };
}

/** By default the token endpoint is called after the first name of the server. */
function tokensOf({ tokens, serverNames }: Config): unknown {
  return tokens.endpoint === false ? tokens : { tokens, serverNames };
}

function keepFixed(running: Config, wanted: Config): Config {
  const { masterKey, keyKind, pkcs11, deviceDays, serverDays } = running.ca;
  return {
    ...wanted,
    trustDomain: running.trustDomain,
    listeners: running.listeners,
    workers: running.workers,
    durability: running.durability,
    metrics: running.metrics,
    tls: { ...wanted.tls, ticketRotationMs: running.tls.ticketRotationMs },
    ca: { ...wanted.ca, masterKey, keyKind, pkcs11, deviceDays, serverDays },
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
