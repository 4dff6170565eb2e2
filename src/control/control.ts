/**
 * Control's composition root: opens keys, registry and audit log, and fits the CA, the snapshot publisher, the admin
 * API and the metrics together.
 */
import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../common/base/clock.ts';
import { messageOf, SallyportError } from '../common/base/errors.ts';
import type { JsonLogger } from '../common/base/json-logger.ts';
import { principalName } from '../common/base/principal.ts';
import { dropPrivileges } from '../common/base/privileges.ts';
import type { ConfigBundle } from '../common/config/config-bundle.ts';
import { workerCount } from '../common/config/config.ts';
import type { Config } from '../common/config/config.ts';
import { parseConfig } from '../common/config/parse-config.ts';
import { parseBody } from '../common/ipc/link.ts';
import type {
  ControlToSupervisor,
  ControlToWorker,
  Member,
  SupervisorToControl,
} from '../common/ipc/messages.ts';
import type { ListenAddress } from '../common/ipc/snapshot.ts';
import { createAdminServer } from './admin/admin-server.ts';
import type { AdminServer } from './admin/admin-server.ts';
import { auditFile, openAuditLog } from './audit-log/audit-log.ts';
import type { AuditLog } from './audit-log/audit-log.ts';
import { caFolder } from './ca/key-pair-files.ts';
import { ensureAuthority } from './ca/ensure-authority.ts';
import { Configuration } from './configuration.ts';
import { Invitations } from './enrolment/invitations.ts';
import { GatewayMetrics } from './metrics/gateway-metrics.ts';
import { OperatorGate } from './operator-gate.ts';
import { Registrations } from './registrations.ts';
import { Registry } from './registry/registry.ts';
import { Services } from './services.ts';
import { buildSnapshot } from './snapshot/build.ts';
import { SnapshotPublisher } from './snapshot/publisher.ts';
import { databaseFile, openDatabase } from './store/database.ts';
import { nextEpoch } from './store/epoch.ts';
import { assertOwnFiles, giveFilesTo } from './store/files.ts';
import { loadMasterKey } from './store/load-master-key.ts';
import type { MasterKey } from './store/master-key.ts';
import { readSecret } from './store/read-secret.ts';
import type { SupervisorCalls } from './supervisor-calls.ts';
import { WorkerTable } from './worker-table.ts';

const socketPath = 'admin.sock';
const firstOperator = 'admin';
const invitationMs = 24 * 3_600_000;
/** How often the server certificate's remaining life is looked at. */
const renewalCheckMs = 6 * 3_600_000;

export interface ControlOptions {
  readonly welcome: Extract<SupervisorToControl, { type: 'welcome' }>;
  readonly clock: Clock;
  readonly logger: JsonLogger;
  readonly calls: SupervisorCalls;
  readonly toSupervisor: (message: ControlToSupervisor) => void;
  readonly broadcast: (kind: number, epoch: number, seq: number, message: ControlToWorker) => void;
  readonly toWorker: (slot: number, message: ControlToWorker) => void;
}

interface Opened {
  readonly config: Config;
  readonly database: DatabaseSync;
  readonly masterKey: MasterKey;
  readonly auditLog: AuditLog;
  readonly registry: Registry;
  readonly metricsToken: string | undefined;
  readonly operatorToken: string | undefined;
}

export class Control {
  readonly #options: ControlOptions;
  readonly #workers: WorkerTable;
  readonly #publisher: SnapshotPublisher;
  readonly #metrics: GatewayMetrics;
  readonly #configuration: Configuration;
  readonly #registrations: Registrations;
  readonly #registry: Registry;
  readonly #services: Services;
  readonly #admin: AdminServer;
  readonly #database: DatabaseSync;
  readonly #timers: NodeJS.Timeout[] = [];

  private constructor(options: ControlOptions, opened: Opened) {
    const { clock, logger, welcome, toSupervisor, calls } = options;
    const { config, database, masterKey, auditLog, registry } = opened;
    this.#options = options;
    this.#registry = registry;
    this.#database = database;
    const authority = ensureAuthority({
      masterKey,
      trustDomain: config.trustDomain,
      serverNames: config.serverNames,
      deviceDays: config.ca.deviceDays,
      serverDays: config.ca.serverDays,
      clock,
      logger,
    });
    this.#workers = new WorkerTable(welcome.ports);
    this.#publisher = new SnapshotPublisher(nextEpoch(database), {
      clock,
      broadcast: options.broadcast,
      kill: ({ slot, generation }) => toSupervisor({ type: 'kill-worker', slot, generation }),
      buildSnapshot: () =>
        buildSnapshot({
          config: this.#configuration.current,
          identities: registry.snapshotEntries(),
          revokedSerials: registry.revokedSerials(),
          server: authority.serverTls(),
          internalAnchor: authority.anchor,
        }),
      later: (ms, action) => {
        const timer = setTimeout(action, ms);
        return () => clearTimeout(timer);
      },
    });
    const publisher = this.#publisher;
    const changeTls = (): void => {
      this.#admin.updateTls(adminTls());
    };
    const adminTls = () => ({
      ...authority.serverTls(),
      clientAnchors: authority.anchor.certificates,
    });
    this.#configuration = new Configuration({
      config,
      authority,
      publisher,
      auditLog,
      logger,
      onTls: changeTls,
    });
    this.#registrations = new Registrations({
      clock,
      registry,
      auditLog,
      publisher,
      anchors: () => this.#configuration.anchors,
      trustDomain: config.trustDomain,
    });
    this.#metrics = new GatewayMetrics(() => ({
      startedAt: welcome.startedAt,
      seq: publisher.position.seq,
      workers: this.#workers.members.map(({ slot }) => ({
        slot,
        acknowledgedSeq: publisher.acknowledgedSeq(slot),
      })),
      identities: registry.count(),
    }));
    this.#services = new Services({
      clock,
      welcome,
      calls,
      authority,
      registry,
      auditLog,
      publisher,
      workers: this.#workers,
      invitations: new Invitations(database, clock),
      configuration: this.#configuration,
      metrics: this.#metrics,
    });
    const gate = new OperatorGate({ clock, registry, authority, trustDomain: config.trustDomain });
    this.#admin = createAdminServer(this.#services, {
      socketPath,
      listener: withPort(config.listeners.admin, welcome.ports['admin']),
      tls: adminTls(),
      metricsToken: opened.metricsToken,
      authenticateOperator: (der) => gate.authenticate(der),
      clock,
      logger,
    });
  }

  /** Opens everything that has a path, becomes control's own user, and listens. */
  static async open(options: ControlOptions): Promise<Control> {
    const { welcome, clock, logger } = options;
    const config = parseConfig(welcome.bundle);
    logger.setLevel(config.logs.level);
    assertOwnFiles();
    const environment = process.env;
    const masterKey = loadMasterKey(config.ca.masterKey, caFolder, environment);
    const metricsToken =
      config.metrics.token === undefined
        ? undefined
        : readSecret(config.metrics.token, environment);
    const database = openDatabase(databaseFile);
    const registry = new Registry(database, clock);
    const auditLog = openAuditLog({ path: auditFile, database, clock });
    const operatorToken = welcome.announce ? invitationToShow(database, clock) : undefined;
    const opened = { config, database, masterKey, auditLog, registry, metricsToken, operatorToken };
    const control = new Control(options, opened);
    if (welcome.privileges !== undefined) {
      giveFilesTo('.', welcome.privileges.uid, welcome.privileges.gid);
      dropPrivileges(welcome.privileges);
    }
    await control.#start(opened);
    return control;
  }

  fromWorker(slot: number, body: Buffer): void {
    const message = parseBody(body) as Record<string, unknown> | undefined;
    switch (message?.['type']) {
      case 'ack':
        if (typeof message['epoch'] === 'number' && typeof message['seq'] === 'number') {
          this.#publisher.acknowledged(slot, message['epoch'], message['seq']);
        }
        if (typeof message['error'] === 'string') {
          const err = message['error'].slice(0, 500);
          this.#options.logger.error({ slot, err }, 'a worker refused the snapshot');
        }
        return;
      case 'want-snapshot':
        this.requestSnapshot();
        return;
      case 'metrics': {
        const member = this.#workers.at(slot);
        if (member !== undefined) this.#takeMetrics(member, message['metrics']);
        return;
      }
      case 'register':
        void this.#register(slot, message);
        break;
      default:
        // A worker is not trusted to say what a worker says.
        break;
    }
  }

  setMembers(members: readonly Member[]): void {
    this.#workers.setMembers(members);
    this.#publisher.setMembers(members);
  }

  listening(listener: string, address: ListenAddress): void {
    this.#workers.listeners.set(listener, address);
  }

  workerGone(slot: number, generation: number): void {
    this.#workers.gone(slot, generation);
    this.#publisher.workerGone(slot, generation);
    this.#metrics.workerGone(slot, generation);
  }

  requestSnapshot(): void {
    this.#publisher.requestSnapshot();
  }

  /** The one-time operator enrolment has been shown; from now on nobody is shown another. */
  operatorAnnounced(): void {
    this.#database.exec('INSERT INTO announced (id) VALUES (1) ON CONFLICT (id) DO NOTHING');
  }

  /** SIGHUP: nobody waits for the answer, so it goes to the log. @returns whether it is in force. */
  async reloadFrom(bundle: ConfigBundle | undefined, error: string | undefined): Promise<boolean> {
    const { logger } = this.#options;
    try {
      if (bundle === undefined)
        throw new SallyportError('invalid-config', error ?? 'no configuration');
      const result = await this.#configuration.apply('signal:SIGHUP', bundle);
      logger.info(result, 'configuration reloaded');
      return true;
    } catch (failure) {
      const fields = { err: messageOf(failure) };
      logger.error(fields, 'configuration not reloaded; the last good one stays');
      return false;
    }
  }

  async close(graceMs: number): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await this.#admin.close(graceMs);
  }

  async #start({ config, masterKey, operatorToken, auditLog }: Opened): Promise<void> {
    const { toSupervisor, welcome, logger } = this.#options;
    if (auditLog.damaged) {
      logger.error({}, 'the audit log was changed from outside; see: sallyport audit-log verify');
    }
    // The workers first: whoever changes a standing from now on waits for them.
    this.setMembers(welcome.members);
    this.#publisher.publishSnapshot();
    this.#publisher.keepConfirming();
    const admin = await this.#admin.start();
    if (admin !== undefined) {
      this.#workers.listeners.set('admin', admin);
      toSupervisor({ type: 'listening', listener: 'admin', ...admin });
    }
    this.#timers.push(
      setInterval(() => this.#configuration.renewServerCertificate(), renewalCheckMs),
    );
    const key = (purpose: string): string => masterKey.deriveKey(purpose, 32).toString('base64');
    toSupervisor({
      type: 'ready',
      keys: {
        storage: key('worker storage'),
        // New in each run: no ticket outlives it, and what is recorded today cannot be opened tomorrow.
        tickets: randomBytes(32).toString('base64'),
        peers: key('worker peers'),
      },
      workers: welcome.workersOverride ?? workerCount(config, availableParallelism()),
      drainMs: config.limits.drainMs,
      operatorToken,
    });
  }

  #takeMetrics(member: Member, metrics: unknown): void {
    const report = this.#workers.accept(member.slot, metrics);
    if (report === undefined) return;
    this.#metrics.accept(member.slot, member.generation, report);
    this.#registry.markSeen(Object.entries(report.seen));
  }

  async #register(slot: number, message: Record<string, unknown>): Promise<void> {
    const { id, anchor, certificate } = message;
    if (typeof id !== 'number' || typeof anchor !== 'string' || typeof certificate !== 'string')
      return;
    let ok = false;
    try {
      await this.#registrations.register(slot, anchor, Buffer.from(certificate, 'base64'));
      ok = true;
    } catch (error) {
      this.#options.logger.warn(
        { slot, anchor: anchor.slice(0, 100), err: messageOf(error) },
        'identity not registered',
      );
    }
    this.#options.toWorker(slot, { type: 'reply', id, ok });
  }
}

/** A fresh one-time enrolment of the first operator, until one has been shown to somebody. */
function invitationToShow(database: DatabaseSync, clock: Clock): string | undefined {
  if (database.prepare('SELECT 1 FROM announced').get() !== undefined) return undefined;
  const operator = principalName('operator', firstOperator);
  return new Invitations(database, clock).replace(operator, invitationMs).token;
}

/** A control that replaces another keeps the port that is known to operators. */
function withPort(address: ListenAddress | false, port: number | undefined): ListenAddress | false {
  return address === false || port === undefined ? address : { ...address, port };
}
