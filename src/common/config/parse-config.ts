/** A bundle made into a configuration. Pure: everything it needs is in the bundle. */
import { dirname, resolve } from 'node:path';
import { SallyportError, messageOf } from '../base/errors.ts';
import { isMlDsa } from '../base/key-kinds.ts';
import { approvedGroups } from '../base/tls-profile.ts';
import { deepFreeze } from '../base/deep-freeze.ts';
import { parseStrictJsonText } from '../base/strict-json.ts';
import { unapprovedCertificates, unapprovedTls } from './approved-algorithms.ts';
import { builtInRoles } from './built-in-roles.ts';
import type { ConfigBundle } from './config-bundle.ts';
import type { Config, RevocationListsConfig, TlsConfig, TrustAnchorConfig } from './config.ts';
import { accepted, checkConfigText } from './filled-config.ts';
import type { CheckedText, FilledConfig, FilledRevocationLists } from './filled-config.ts';
import { ownUrl, tokenListener } from './own-url.ts';
import { parseCrl, parseOcsp, statusUrlOf } from './parse-ca-status.ts';
import { parseEnrolment } from './parse-enrolment.ts';
import { parseLimits } from './parse-limits.ts';
import { parsePkcs11 } from './parse-pkcs11.ts';
import { windowsOf } from './parse-route-parts.ts';
import type { RoutePorts } from './parse-route-parts.ts';
import { parseRoutes } from './parse-routes.ts';
import { parseTokens } from './parse-tokens.ts';
import { compilePayloadSchema } from './payload-schema.ts';
import { pemProblem, splitPem } from './pem-problem.ts';
import type { RoleDocument } from './policy-document.ts';
import type { Problem } from './problems.ts';
import { secretSource } from './secret-path.ts';
import { durationMs, isUrl, sizeBytes } from './units.ts';
import type { Path } from './yaml-source.ts';

/** More often would only void tickets that are still good. */
const leastTicketRotationMs = 3_600_000;

/** The listeners that this version has. */
const existing: ReadonlySet<string> = new Set([
  'mqtts',
  'https',
  'httpsSigned',
  'mqttsSigned',
  'est',
  'status',
  'admin',
]);

/** @throws SallyportError `invalid-config`; its message has a line for every problem. */
export function parseConfig(bundle: ConfigBundle): Config {
  return deepFreeze(new Builder(bundle).config());
}

class Builder {
  readonly #bundle: ConfigBundle;
  readonly #checked: CheckedText;
  readonly #filled: FilledConfig;
  readonly #problems: Problem[] = [];

  constructor(bundle: ConfigBundle) {
    this.#bundle = bundle;
    this.#checked = checkConfigText(bundle.configPath, bundle.configText);
    this.#filled = this.#checked.filled;
  }

  config(): Config {
    const { trustDomain, serverNames, tls, ca, durability, logs, workers } = this.#filled;
    const limits = parseLimits(this.#filled.limits, (name, message) =>
      this.#fail(['limits', name], message),
    );
    const roles = this.#roles();
    const { configPath, secrets } = this.#bundle;
    const ports: RoutePorts = {
      limits,
      roles,
      tokens: this.#filled.tokens,
      secrets,
      wrote: (at) => this.#checked.wrote(at),
      file: (at, file) => this.#file(at, file),
      schema: (at, file) => this.#schema(at, file),
      fail: (at, message) => this.#fail(at, message),
    };
    const { routes, backends, proxied, upstreams } = parseRoutes(this.#filled.routes, ports);
    const { listeners, metrics, anomaly } = this.#filled;
    const { device, service, operator } = this.#filled.limits.identityRates;
    const config: Config = {
      trustDomain,
      serverNames,
      listeners: {
        mqtts: listeners.mqtts,
        https: listeners.https,
        est: listeners.est,
        status: listeners.status,
        httpsSigned: listeners.httpsSigned,
        mqttsSigned: listeners.mqttsSigned,
        admin: listeners.admin,
      },
      listenersNotYet: Object.entries(listeners).flatMap(([name, address]) =>
        existing.has(name) || address === false ? [] : [name],
      ),
      tls: this.#tls(tls),
      ca: {
        masterKey: secretSource(ca.masterKey, configPath),
        keyKind: ca.keyKind,
        pkcs11: parsePkcs11(ca.pkcs11, configPath, (key, message) =>
          this.#fail(['ca', 'pkcs11', key], message),
        ),
        deviceDays: ca.deviceDays,
        serverDays: ca.serverDays,
        trustAnchors: this.#trustAnchors(roles),
        statusUrl: statusUrlOf(ca, listeners.status, serverNames),
        crl: parseCrl(ca, (key, message) => this.#fail(['ca', 'crl', key], message)),
        ocsp: parseOcsp(ca, (key, message) => this.#fail(['ca', 'ocsp', key], message)),
      },
      enrolment: parseEnrolment(this.#filled.enrolment, {
        roles,
        file: (at, file) => this.#file(at, file),
        fail: (at, message) => this.#fail(at, message),
      }),
      roles,
      routes,
      backends,
      proxied,
      upstreams,
      tokens: parseTokens(this.#filled.tokens, {
        ...ports,
        ownUrl: ownUrl(serverNames, tokenListener(listeners)?.port),
      }),
      limits,
      identityRates: {
        device: windowsOf(device),
        service: windowsOf(service),
        operator: windowsOf(operator),
      },
      durability,
      logs,
      metrics: { token: secretSource(metrics.token, configPath) },
      clones: {
        rule: anomaly.clones.rule,
        windowMs: accepted(durationMs(anomaly.clones.window)),
        quarantinesPerHour: anomaly.clones.quarantinesPerHour,
      },
      workers,
    };
    if (config.tls.approvedOnly) this.#approvedAnchors(config);
    if (config.tokens.endpoint !== false && listeners.https === false && !listeners.httpsSigned)
      this.#fail(
        ['tokens', 'endpoint'],
        'has no listener: switch on listeners.https or httpsSigned',
      );
    if (config.ca.pkcs11 !== undefined && isMlDsa(config.ca.keyKind)) {
      this.#fail(
        ['ca', 'keyKind'],
        'is a kind that PKCS#11 tokens do not make: choose P-256 or P-384',
      );
    }
    this.#checked.failIfAny(this.#problems);
    return config;
  }

  #fail(at: Path, message: string): void {
    this.#problems.push(this.#checked.problem(at, message));
  }

  #roles(): Record<string, RoleDocument> {
    // Typed `any` by the library.
    const roles = Object.create(null) as Record<string, RoleDocument>;
    return Object.assign(roles, builtInRoles, this.#filled.roles);
  }

  #schema(at: Path, file: string): unknown {
    const text = this.#file(at, file);
    if (text === undefined) return undefined;
    const parsed = parseStrictJsonText(text);
    if (!parsed.ok) {
      this.#fail(at, `names ${JSON.stringify(file)}, which ${parsed.problem}`);
      return undefined;
    }
    // A plain copy: the strict reader's objects have no prototype, which data sent to workers would lose anyway.
    const schema: unknown = JSON.parse(text);
    try {
      compilePayloadSchema(schema, file);
    } catch (thrown) {
      if (!(thrown instanceof SallyportError)) throw thrown;
      this.#fail(at, `names a schema that is refused: ${messageOf(thrown)}`);
    }
    return schema;
  }

  #trustAnchors(roles: Readonly<Record<string, RoleDocument>>): TrustAnchorConfig[] {
    const seen = new Set(['internal']);
    return this.#filled.ca.trustAnchors.map((anchor, i) => {
      const at = ['ca', 'trustAnchors', i];
      if (seen.has(anchor.name)) this.#fail([...at, 'name'], `"${anchor.name}" is already taken`);
      seen.add(anchor.name);
      if (!Object.hasOwn(roles, anchor.role))
        this.#fail([...at, 'role'], 'is not a role: add it under roles');
      const pem = this.#file([...at, 'file'], anchor.file) ?? '';
      const problem = pem === '' ? undefined : pemProblem(pem);
      if (problem !== undefined) this.#fail([...at, 'file'], problem);
      return { ...anchor, pem, crl: this.#revocationLists([...at, 'crl'], anchor.crl) };
    });
  }

  #revocationLists(
    at: Path,
    lists: FilledRevocationLists | undefined,
  ): RevocationListsConfig | undefined {
    if (lists === undefined) return undefined;
    const { configPath } = this.#bundle;
    if (new Set(lists.from).size < lists.from.length)
      this.#fail([...at, 'from'], 'names the same list twice');
    return {
      from: lists.from.map((text) => {
        if (isUrl(text)) return { url: new URL(text).href };
        return { file: configPath === undefined ? text : resolve(dirname(configPath), text) };
      }),
      whenStale: lists.whenStale,
      everyMs: accepted(durationMs(lists.every)),
      timeoutMs: accepted(durationMs(lists.timeout)),
      maxBytes: accepted(sizeBytes(lists.maxBytes)),
      keepDays: lists.keepDays,
    };
  }

  #tls({ ticketRotation, ...tls }: FilledConfig['tls']): TlsConfig {
    const ticketRotationMs = accepted(durationMs(ticketRotation));
    if (ticketRotationMs < leastTicketRotationMs)
      this.#fail(['tls', 'ticketRotation'], 'is less than 1h, for which a ticket is good');
    if (!tls.approvedOnly) return { ...tls, ticketRotationMs };
    const wrote = (key: string): boolean => this.#checked.wrote(['tls', key]);
    for (const [key, problem] of unapprovedTls(tls, wrote)) this.#fail(['tls', key], problem);
    const groups = wrote('groups') ? tls.groups : approvedGroups;
    return { ...tls, groups, minVersion: '1.3', ticketRotationMs };
  }

  /** Of others' CAs; the gateway's own never has anything else. */
  #approvedAnchors({ ca, enrolment }: Config): void {
    const places = [
      ...ca.trustAnchors.map(({ pem }, i) => [['ca', 'trustAnchors', i, 'file'], pem] as const),
      ...enrolment.manufacturers.map(
        ({ pem }, i) => [['enrolment', 'manufacturers', i, 'file'], pem] as const,
      ),
    ];
    for (const [at, pem] of places) {
      const problem = unapprovedCertificates(splitPem(pem));
      if (problem !== undefined) this.#fail(at, problem);
    }
  }

  #file(at: Path, file: string): string | undefined {
    const { files } = this.#bundle;
    if (Object.hasOwn(files, file)) return files[file];
    this.#fail(
      at,
      `names ${JSON.stringify(file)}, which was not read; load the configuration anew`,
    );
    return undefined;
  }
}
