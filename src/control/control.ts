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
import { TicketChain } from '../common/base/ticket-chain.ts';
import type { ConfigBundle } from '../common/config/config-bundle.ts';
import { workerCount } from '../common/config/config.ts';
import type { Config } from '../common/config/config.ts';
import { parseConfig } from '../common/config/parse-config.ts';
import { parseBody } from '../common/ipc/link.ts';
import type {
  ClockReading,
  ControlToSupervisor,
  ControlToWorker,
  Member,
  SupervisorToControl,
} from '../common/ipc/messages.ts';
import type { ListenAddress } from '../common/ipc/snapshot.ts';
import { createAdminServer } from './admin/admin-server.ts';
import type { AdminServer } from './admin/admin-server.ts';
import { CaServices } from './ca-services.ts';
import { ShownPins } from './ca/pins.ts';
import { Configuration } from './configuration.ts';
import { ExpiryWatch } from './enrolment/expiry-watch.ts';
import { Invitations } from './enrolment/invitations.ts';
import { CloneReports } from './anomaly/clone-reports.ts';
import { createForeignLists } from './foreign-lists.ts';
import { ClockWatch } from './metrics/clock-watch.ts';
import { GatewayMetrics } from './metrics/gateway-metrics.ts';
import { KeyServices } from './key-services.ts';
import { createNetworkEnrolment } from './network-enrolment.ts';
import { OperatorGate } from './operator-gate.ts';
import { Registrations } from './registrations.ts';
import { renewalReminder } from './renewal-notices.ts';
import { openAll } from './opened.ts';
import type { Opened } from './opened.ts';
import { RegularWork } from './regular-work.ts';
import type { Registry } from './registry/registry.ts';
import type { ExternalCrls } from './revocation/external/external-crls.ts';
import { Services } from './services.ts';
import { buildSnapshot } from './snapshot/build.ts';
import { SnapshotPublisher } from './snapshot/publisher.ts';
import type { StatusMaterials } from './status-materials.ts';
import { createStatusParts } from './status-parts.ts';
import { nextEpoch } from './store/epoch.ts';
import type { RevocationDesk } from './revocation-desk.ts';
import type { SupervisorCalls } from './supervisor-calls.ts';
import { createTokenServices } from './token-parts.ts';
import type { TokenServices } from './token-services.ts';
import { WorkerAsks } from './worker-asks.ts';
import { WorkerCalls } from './worker-calls.ts';
import { WorkerTable } from './worker-table.ts';

const socketPath = 'admin.sock';
const dayMs = 86_400_000;
/** Of the key from which those of devices are derived. */
const integrityPurpose = 'device integrity';

export interface ControlOptions {
  readonly welcome: Extract<SupervisorToControl, { type: 'welcome' }>;
  readonly clock: Clock;
  readonly logger: JsonLogger;
  readonly calls: SupervisorCalls;
  readonly toSupervisor: (message: ControlToSupervisor) => void;
  readonly broadcast: (kind: number, epoch: number, seq: number, message: ControlToWorker) => void;
  readonly toWorker: (slot: number, message: ControlToWorker) => void;
}

export class Control {
  readonly #options: ControlOptions;
  readonly #workers: WorkerTable;
  readonly #publisher: SnapshotPublisher;
  readonly #asks: WorkerAsks;
  readonly #calls: WorkerCalls;
  readonly #metrics: GatewayMetrics;
  readonly #clockWatch: ClockWatch;
  readonly #configuration: Configuration;
  readonly #status: StatusMaterials;
  readonly #revocation: RevocationDesk;
  readonly #crls: ExternalCrls;
  readonly #tokens: TokenServices;
  readonly #registrations: Registrations;
  readonly #cloneReports: CloneReports;
  readonly #registry: Registry;
  readonly #services: Services;
  readonly #admin: AdminServer;
  readonly #database: DatabaseSync;
  readonly #regularWork: RegularWork;

  private constructor(options: ControlOptions, opened: Opened) {
    const { clock, logger, welcome, toSupervisor, calls } = options;
    const { config, database, auditLog, registry, authority } = opened;
    this.#options = options;
    this.#registry = registry;
    this.#database = database;
    this.#workers = new WorkerTable(welcome.ports);
    const later = (ms: number, action: () => void): (() => void) => {
      const timer = setTimeout(action, ms);
      return () => clearTimeout(timer);
    };
    this.#publisher = new SnapshotPublisher(nextEpoch(database), {
      clock,
      broadcast: options.broadcast,
      kill: ({ slot, generation }) => toSupervisor({ type: 'kill-worker', slot, generation }),
      buildSnapshot: () =>
        buildSnapshot({
          config: this.#configuration.current,
          identities: registry.snapshotEntries(),
          revokedSerials: [...registry.revokedSerials(), ...this.#crls.revokedSerials()],
          revokedLists: this.#crls.revokedLists(),
          server: authority.serverTls(),
          internalAnchor: authority.anchor,
          status: this.#status.current,
          trusted: (anchor) => this.#crls.trusted(anchor),
          credentials: this.#tokens.tell(),
        }),
      later,
      soon: (action) => void setImmediate(action),
    });
    const publisher = this.#publisher;
    const { status, revocation } = createStatusParts({
      database,
      clock,
      later,
      authority,
      publisher,
      config: () => this.#configuration.current,
      callsPerSecond: config.limits.statusCallsPerSecond,
      logger,
    });
    this.#status = status;
    this.#revocation = revocation;
    this.#asks = new WorkerAsks({
      toWorker: options.toWorker,
      members: () => this.#workers.members,
      acknowledgedSeq: (slot) => publisher.acknowledgedSeq(slot),
      later,
    });
    const enrolment = createNetworkEnrolment({
      database,
      clock,
      logger,
      trustDomain: config.trustDomain,
      settings: () => this.#configuration.current.enrolment,
      authority,
      registry,
      auditLog,
      publish: async ({ entry }) => {
        await publisher.publishAddition([{ type: 'identity', entry }]);
      },
      later,
    });
    const expiry = new ExpiryWatch({
      database,
      clock,
      registry,
      renewalWindowMs: () => this.#configuration.current.enrolment.renewalDays * dayMs,
      remind: renewalReminder({ asks: this.#asks, workers: this.#workers }),
      logger,
    });
    this.#crls = createForeignLists({
      database,
      clock,
      registry,
      auditLog,
      publisher,
      configuration: () => this.#configuration,
      logger,
    });
    this.#tokens = createTokenServices({
      database,
      masterKey: opened.masterKey,
      clock,
      logger,
      registry,
      auditLog,
      publisher,
      crls: this.#crls,
      workers: this.#workers,
      configuration: () => this.#configuration,
      trustDomain: config.trustDomain,
    });
    this.#calls = new WorkerCalls({
      clock,
      handlers: { est: enrolment.est, ...this.#revocation.handlers, ...this.#tokens.handlers },
      toWorker: options.toWorker,
      logger,
    });
    const changeTls = (): void => {
      void this.#revocation.check();
      void this.#status.check();
      this.#admin.updateTls(adminTls());
    };
    const adminTls = () => ({
      ...authority.serverTls(),
      clientAnchors: authority.anchor.certificates,
      approvedOnly: this.#configuration.current.tls.approvedOnly,
    });
    this.#configuration = new Configuration({
      config,
      authority,
      publisher,
      auditLog,
      logger,
      crls: this.#crls,
      tokens: this.#tokens,
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
    this.#clockWatch = new ClockWatch(logger);
    this.#metrics = new GatewayMetrics(
      () => ({
        startedAt: welcome.startedAt,
        seq: publisher.position.seq,
        workers: this.#workers.members.map(({ slot }) => ({
          slot,
          acknowledgedSeq: publisher.acknowledgedSeq(slot),
        })),
        identities: registry.count(),
        clock: this.#clockWatch.reading,
        lists: this.#revocation.states,
        enrolments: enrolment.tally.counts,
        expiring: expiry.expiring,
        ends: authority.ends,
      }),
      () => this.#crls.states(),
      () => ({ issuers: this.#tokens.issuerStates, outcomes: this.#tokens.counts }),
    );
    const ca = new CaServices({
      authority,
      registry,
      auditLog,
      configuration: this.#configuration,
      shownPins: new ShownPins(database, clock),
      clock,
      logger,
    });
    this.#services = new Services({
      clock,
      welcome,
      calls,
      authority,
      ca,
      registry,
      auditLog,
      publisher,
      workers: this.#workers,
      asks: this.#asks,
      invitations: new Invitations(database, clock),
      issuance: enrolment.issuance,
      tokens: enrolment.tokens,
      pending: enrolment.pending,
      configuration: this.#configuration,
      metrics: this.#metrics,
      revocation: this.#revocation,
      keys: new KeyServices({
        clock,
        registry,
        keys: opened.keys,
        certificateKeys: opened.certificateKeys,
        integrityKey: opened.masterKey.deriveKey(integrityPurpose, 32),
        auditLog,
        publisher,
      }),
    });
    this.#regularWork = new RegularWork({
      configuration: this.#configuration,
      ca,
      status,
      revocation,
      expiry,
      tokens: this.#tokens,
    });
    this.#cloneReports = new CloneReports({
      clock,
      registry,
      auditLog,
      rules: () => this.#configuration.current.clones,
      quarantine: async (actor, name, reason) => {
        await this.#services.changeStanding(actor, name, 'quarantine', reason);
      },
      logger,
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
    const settings = { latest: (): Config => config };
    const opened = await openAll({
      config,
      welcome,
      clock,
      logger,
      latest: () => settings.latest(),
    });
    const control = new Control(options, opened);
    settings.latest = () => control.#configuration.current;
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
        return;
      case 'call':
        void this.#calls.accept(slot, message);
        return;
      case 'clone':
        void this.#cloneReports.accept(slot, message);
        return;
      case 'answer':
        this.#asks.answered(slot, message);
        break;
      default:
        // A worker is not trusted to say what a worker says.
        break;
    }
  }

  setMembers(members: readonly Member[]): void {
    this.#workers.setMembers(members);
    this.#publisher.setMembers(members);
    this.#asks.setMembers(members);
  }

  listening(listener: string, address: ListenAddress): void {
    this.#workers.listeners.set(listener, address);
    // By which port the token endpoint is known.
    if (listener === 'https' || listener === 'httpsSigned') void this.#tokens.check();
  }

  workerGone(slot: number, generation: number): void {
    this.#workers.gone(slot, generation);
    this.#publisher.workerGone(slot, generation);
    this.#asks.workerGone(slot, generation);
    this.#metrics.workerGone(slot, generation);
  }

  clockRead(reading: ClockReading | undefined): void {
    this.#clockWatch.read(reading);
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
    this.#regularWork.stop();
    this.#crls.stop();
    this.#tokens.stop();
    await this.#admin.close(graceMs);
  }

  async #start({
    config,
    masterKey,
    operatorToken,
    auditLog,
  }: Pick<Opened, 'config' | 'masterKey' | 'operatorToken' | 'auditLog'>): Promise<void> {
    const { toSupervisor, welcome, logger, clock } = this.#options;
    if (auditLog.damaged) {
      logger.error({}, 'the audit log was changed from outside; see: sallyport audit-log verify');
    }
    await this.#crls.load(config.ca.trustAnchors);
    // The workers first: whoever changes a standing from now on waits for them.
    this.setMembers(welcome.members);
    await this.#status.prepare();
    await this.#revocation.prepare();
    this.#tokens.prepare();
    this.#publisher.publishSnapshot();
    this.#publisher.keepConfirming();
    this.#crls.start();
    this.#tokens.start();
    void this.#revocation.check();
    const admin = await this.#admin.start();
    if (admin !== undefined) {
      this.#workers.listeners.set('admin', admin);
      toSupervisor({ type: 'listening', listener: 'admin', ...admin });
    }
    this.#regularWork.start();
    const key = (purpose: string): string => masterKey.deriveKey(purpose, 32).toString('base64');
    toSupervisor({
      type: 'ready',
      keys: {
        storage: key('worker storage'),
        // New in each run: no ticket outlives it, and what is recorded today cannot be opened tomorrow.
        tickets: TicketChain.from(
          randomBytes(32).toString('base64'),
          config.tls.ticketRotationMs,
          clock.now(),
        ).stateAt(clock.now()),
        peers: key('worker peers'),
        integrity: key(integrityPurpose),
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

/** A control that replaces another keeps the port that is known to operators. */
function withPort(address: ListenAddress | false, port: number | undefined): ListenAddress | false {
  return address === false || port === undefined ? address : { ...address, port };
}
