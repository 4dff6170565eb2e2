/** A bundle made into a configuration. Pure: everything it needs is in the bundle. */
import path from 'node:path';
import { SallyportError, messageOf } from '../base/errors.ts';
import { deepFreeze } from '../base/deep-freeze.ts';
import type { RateWindow } from '../base/rate-window.ts';
import { parseStrictJsonText } from '../base/strict-json.ts';
import { builtInRoles } from './built-in-roles.ts';
import type { ConfigBundle } from './config-bundle.ts';
import { configSchema } from './config-schema.ts';
import type { Config, RouteConfig, SecretSource, TrustAnchorConfig } from './config.ts';
import { accepted, checkConfigText } from './filled-config.ts';
import type {
  CheckedText,
  FilledConfig,
  FilledRate,
  FilledRoute,
  FilledSecret,
} from './filled-config.ts';
import { compilePayloadSchema } from './payload-schema.ts';
import type { LimitsDocument, RoleDocument } from './policy-document.ts';
import type { Problem } from './problems.ts';
import { durationMs, rateOf, sizeBytes } from './units.ts';
import type { Path } from './yaml-source.ts';

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
    const limits = this.#limits();
    const roles = this.#roles();
    const { device, service, operator } = this.#filled.limits.identityRates;
    const config: Config = {
      trustDomain,
      serverNames,
      listeners: { mqtts: this.#filled.listeners.mqtts, admin: this.#filled.listeners.admin },
      listenersNotYet: Object.entries(this.#filled.listeners).flatMap(([name, address]) =>
        name === 'mqtts' || name === 'admin' || address === false ? [] : [name],
      ),
      tls,
      ca: {
        masterKey: this.#secret(ca.masterKey),
        deviceDays: ca.deviceDays,
        serverDays: ca.serverDays,
        trustAnchors: this.#trustAnchors(roles),
      },
      enrolment: { csrBytes: accepted(sizeBytes(this.#filled.enrolment.csrBytes)) },
      roles,
      routes: this.#routes(limits),
      limits,
      identityRates: {
        device: windows(device),
        service: windows(service),
        operator: windows(operator),
      },
      durability,
      logs,
      metrics: { token: this.#secret(this.#filled.metrics.token) },
      workers,
    };
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

  #routes(limits: LimitsDocument): RouteConfig[] {
    const { routes } = this.#filled;
    const names = new Set(['telemetry', ...Object.keys(routes)]);
    return [...names].flatMap((name) => {
      const route = this.#withDefaults(name, routes[name]);
      if (route.match === undefined) {
        this.#fail(['routes', name], 'lacks the key "match"');
        return [];
      }
      const { breaker, schema } = route;
      const payloadBytes =
        route.payloadBytes === undefined ? undefined : accepted(sizeBytes(route.payloadBytes));
      if (payloadBytes !== undefined && payloadBytes > limits.packetBytes) {
        this.#fail(
          ['routes', name, 'payloadBytes'],
          'is more than limits.packetBytes, which ends the connection first',
        );
      }
      return [
        {
          name,
          match: route.match,
          rate: windows(route.rate),
          schemaFile: schema,
          schema:
            schema === undefined ? undefined : this.#schema(['routes', name, 'schema'], schema),
          payloadBytes,
          breaker:
            breaker === undefined
              ? undefined
              : {
                  failures: breaker.failures,
                  withinMs: accepted(durationMs(breaker.within)),
                  openMs: accepted(durationMs(breaker.open)),
                },
        },
      ];
    });
  }

  /** `telemetry` keeps what the configuration does not say of it. */
  #withDefaults(name: string, route: FilledRoute | undefined): FilledRoute {
    const none: FilledRoute = {
      match: undefined,
      schema: undefined,
      rate: [],
      payloadBytes: undefined,
      breaker: undefined,
    };
    const written = route ?? none;
    // The schema's own default, which is data of this very shape.
    const defaults = configSchema.properties?.['routes']?.default as Record<string, FilledRoute>;
    const shipped = Object.hasOwn(defaults, name) ? defaults[name] : undefined;
    if (shipped === undefined) return written;
    return {
      ...written,
      match: written.match ?? shipped.match,
      rate: this.#checked.wrote(['routes', name, 'rate']) ? written.rate : shipped.rate,
    };
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
      return { ...anchor, pem };
    });
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

  #secret(source: FilledSecret | undefined): SecretSource | undefined {
    const { file, credential, environment } = source ?? {};
    if (credential !== undefined) return { credential };
    if (environment !== undefined) return { environment };
    if (file === undefined) return undefined;
    const { configPath } = this.#bundle;
    return { file: configPath === undefined ? file : path.resolve(path.dirname(configPath), file) };
  }

  #limits(): LimitsDocument {
    const texts = this.#filled.limits;
    const count = (name: string): number => Number(texts[name]);
    const bytes = (name: string): number => accepted(sizeBytes(String(texts[name])));
    const ms = (name: string): number => accepted(durationMs(String(texts[name])));
    const limits: LimitsDocument = {
      sessions: count('sessions'),
      sessionsPerIdentity: count('sessionsPerIdentity'),
      subscriptionsPerSession: count('subscriptionsPerSession'),
      sourceConnectionsPerSecond: count('sourceConnectionsPerSecond'),
      sourceConnections: count('sourceConnections'),
      halfOpen: count('halfOpen'),
      sourceHalfOpen: count('sourceHalfOpen'),
      handshakeMs: ms('handshake'),
      connectMs: ms('connect'),
      connectBytes: bytes('connectBytes'),
      packetBytes: bytes('packetBytes'),
      payloadBytes: bytes('payloadBytes'),
      userProperties: count('userProperties'),
      topicBytes: bytes('topicBytes'),
      topicLevels: count('topicLevels'),
      keepAliveSeconds: Math.floor(ms('keepAlive') / 1_000),
      receiveMaximum: count('receiveMaximum'),
      outboundBytes: bytes('outboundBytes'),
      outboundMessages: count('outboundMessages'),
      retainedPerIdentity: count('retainedPerIdentity'),
      retainedBytesPerIdentity: bytes('retainedBytesPerIdentity'),
      controlPacketsPerSecond: count('controlPacketsPerSecond'),
      stalledMs: ms('stalled'),
      ratePauseMs: ms('ratePause'),
      rateRefusals: count('rateRefusals'),
      drainMs: ms('drain'),
      maxSnapshotAgeMs: ms('maxSnapshotAge'),
    };
    const bound = (name: string, ok: boolean, message: string): void => {
      if (!ok) this.#fail(['limits', name], message);
    };
    // MQTT counts keep-alive in two bytes of seconds, lengths of texts in two bytes, packets in 268,435,455 (§3.1.2.10, §1.5.4, §2.1.4).
    bound(
      'keepAlive',
      limits.keepAliveSeconds >= 1 && limits.keepAliveSeconds <= 65_535,
      'is not from 1s to 65535s',
    );
    bound(
      'topicBytes',
      limits.topicBytes <= 65_535,
      'is more than the 65535 bytes that MQTT allows',
    );
    bound(
      'packetBytes',
      limits.packetBytes <= 268_435_455,
      'is more than the 268435455 bytes that MQTT allows',
    );
    bound(
      'connectBytes',
      limits.connectBytes <= limits.packetBytes,
      'is more than limits.packetBytes',
    );
    bound(
      'payloadBytes',
      limits.payloadBytes <= limits.packetBytes,
      'is more than limits.packetBytes, which ends the connection first',
    );
    return limits;
  }
}

function windows(rate: FilledRate): RateWindow[] {
  const list = 'limit' in rate ? [rate] : rate;
  return list.map(({ limit, burst }) => ({ ...accepted(rateOf(limit)), burst }));
}

function pemProblem(pem: string): string | undefined {
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/u.test(pem))
    return 'names a file with a private key; name the certificates only';
  return pem.includes('-----BEGIN CERTIFICATE-----')
    ? undefined
    : 'names a file without a PEM certificate';
}
