/**
 * The worker's composition root: opens the store, joins the peers, and fits listeners, policy, broker and transport
 * together around the snapshot.
 */
import type { Clock } from '../common/base/clock.ts';
import { errorCodeOf, messageOf, SallyportError } from '../common/base/errors.ts';
import type { JsonLogger } from '../common/base/json-logger.ts';
import type { PrincipalName, Standing } from '../common/base/principal.ts';
import { TicketChain } from '../common/base/ticket-chain.ts';
import type {
  CloneRule,
  LimitsDocument,
  PolicyDocument,
} from '../common/config/policy-document.ts';
import type { Frame } from '../common/ipc/frames.ts';
import type {
  ControlToWorker,
  Member,
  WorkerAsk,
  WorkerToControl,
  WorkerToSupervisor,
  WorkerWelcome,
} from '../common/ipc/messages.ts';
import type { BackendSettings, Durability, Snapshot, TlsMaterial } from '../common/ipc/snapshot.ts';
import { Acknowledgements } from './acknowledgements.ts';
import { Asks } from './asks.ts';
import { Broker } from './broker/broker.ts';
import type { Message } from './broker/message.ts';
import { ControlCalls } from './control-calls.ts';
import { RegisteredKeys } from './credentials/registered-keys.ts';
import { ReplayGuard } from './credentials/replay-guard.ts';
import { Signatures } from './credentials/signatures.ts';
import type { Tokens } from './credentials/tokens/tokens.ts';
import { deviceListeners } from './device-listeners.ts';
import { DurableSessions, sessionPorts } from './durable-sessions.ts';
import { Identifier } from './identify.ts';
import { Assertions } from './listeners/https/proxied/assertions.ts';
import { ConnectedSubject } from './listeners/identified.ts';
import type { Identified } from './listeners/identified.ts';
import type { ListenerPorts } from './listeners/mqtt/listener.ts';
import { publishWill } from './listeners/mqtt/will.ts';
import { StatusListener } from './listeners/status/listener.ts';
import { Listening } from './listening.ts';
import { WorkerCounters } from './metrics.ts';
import type { Suspicion } from './peering/clone-watch.ts';
import type { ConductRules } from './peering/identity-conduct.ts';
import { openTokens } from './open-tokens.ts';
import { Peering } from './peering/peering.ts';
import { Breakers } from './policy/breakers.ts';
import { Concurrency } from './policy/concurrency.ts';
import { compilePolicy } from './policy/compile.ts';
import type { Policy } from './policy/policy.ts';
import { Registrar } from './registrar.ts';
import { Intake } from './routes/intake.ts';
import { Spools } from './routes/spools.ts';
import { Upstreams } from './routes/upstream/upstreams.ts';
import type { SecureConnection } from './transport/secure-connection.ts';
import { SnapshotView } from './snapshot/snapshot-view.ts';
import { StatusListening } from './status-listening.ts';
import { openStores } from './store/open.ts';
import type { OpenedStores } from './store/open.ts';
import { Authenticator } from './transport/authenticate.ts';
import { SourceAdmission } from './transport/source-admission.ts';
import { Stapling } from './transport/stapling.ts';
import { TicketRotation } from './transport/ticket-rotation.ts';
import { Turnstile } from './transport/turnstile.ts';

const reportMs = 1_000;
/** An upgrade spreads the disconnections over this part of the drain time. */
const upgradeSpread = 0.7;
/** What backends have in hand when the worker ends is waited for this long; the spool keeps the rest. */
const deliveryDrainMs = 2_000;

export interface GatewayOptions {
  readonly welcome: WorkerWelcome;
  readonly clock: Clock;
  readonly logger: JsonLogger;
  readonly toSupervisor: (message: WorkerToSupervisor) => void;
  readonly toControl: (message: WorkerToControl) => void;
}

export class Gateway {
  readonly #options: GatewayOptions;
  readonly #stores: OpenedStores;
  readonly #peering: Peering;
  readonly #durable: DurableSessions;
  readonly #spools: Spools;
  readonly #acknowledgements: Acknowledgements;
  readonly #asks: Asks;
  readonly #calls: ControlCalls;
  readonly #counters = new WorkerCounters();
  readonly #breakers: Breakers;
  readonly #concurrency = new Concurrency();
  readonly #upstreams: Upstreams;
  readonly #assertions: Assertions;
  readonly #tokens: Tokens;
  readonly #view: SnapshotView;
  readonly #authenticator: Authenticator;
  readonly #registrar: Registrar;
  readonly #admission: SourceAdmission;
  readonly #turnstile: Turnstile;
  readonly #status: StatusListener;
  readonly #statusListening: StatusListening;
  readonly #stapling: Stapling;
  readonly #listening: Listening;
  readonly #reporter: NodeJS.Timeout;
  #policy: Policy | undefined;
  #generation = 0;
  #member = false;
  #opened = false;
  #draining = false;

  /** Opens the stores and joins the peers. It listens once it is a member and has a snapshot. */
  static async open(options: GatewayOptions): Promise<Gateway> {
    const gateway = new Gateway(options);
    await gateway.#peering.start();
    return gateway;
  }

  private constructor(options: GatewayOptions) {
    const { welcome, clock, logger, toControl, toSupervisor } = options;
    const { count } = this.#counters;
    this.#options = options;
    this.#breakers = new Breakers(clock);
    this.#upstreams = new Upstreams({ clock, logger, count });
    this.#assertions = new Assertions(clock);
    this.#view = new SnapshotView(clock, {
      onPolicy: (policy) => this.#compile(policy),
      onTls: (tls) => this.#changeTls(tls),
      onStatus: (status) => {
        this.#status.changeStatus(status);
        this.#stapling.update(status.staples);
      },
      onBackends: (backends) => this.#changeBackends(backends),
      onUpstreams: (upstreams) => {
        this.#upstreams.update(upstreams);
        this.#assertions.setUpstreams(upstreams);
      },
      onCredentials: (credentials) => {
        this.#assertions.setCredentials(credentials);
        this.#tokens.update(credentials);
      },
      onLogLevel: (level) => logger.setLevel(level),
      onIdentities: (names) => {
        this.#tokens.identitiesChanged();
        for (const protocol of this.#listening.protocols) {
          protocol.standingChanged(names);
          protocol.policyChanged(names);
        }
        this.#discardSessions(names);
      },
      onRevokedSerials: (serials) => {
        this.#status.certificatesRevoked(serials);
        const isRevoked = this.#revokedAmong(serials);
        for (const protocol of this.#listening.protocols) protocol.certificatesRevoked(isRevoked);
      },
    });
    const durability = (): Durability => this.#view.current?.durability ?? 'flushed';
    this.#stores = openStores({
      slot: welcome.slot,
      directory: 'store',
      key: Buffer.from(welcome.keys.storage, 'base64'),
      durability,
      limits: () => this.#limits(),
      sessions: sessionPorts({
        peering: () => this.#peering,
        isRevoked: (principal) => this.#view.identity(principal)?.standing === 'revoked',
        durable: () => this.#durable,
        publishWill: (principal, will) => this.#publishWill(ports, principal, will),
        count,
      }),
      clock,
      logger,
    });
    const { retained, mailbox, sessions, once } = this.#stores;
    this.#peering = new Peering({
      slot: welcome.slot,
      generation: welcome.generation,
      key: Buffer.from(welcome.keys.peers, 'base64'),
      clock,
      logger,
      sessionsPerIdentity: () => this.#limits().sessionsPerIdentity,
      rules: () => this.#conductRules(),
      onClone: (suspicion, rule) => this.#suspectClone(suspicion, rule),
    });
    const { crossing, desk } = this.#peering;
    this.#spools = new Spools({
      store: this.#stores.spools,
      seal: this.#stores.seal,
      hasRoom: () => this.#stores.hasRoom(),
      peers: this.#peering.peers,
      durability,
      clock,
      logger,
      count,
    });
    const broker = new Broker({ crossing, clock });
    this.#durable = new DurableSessions({
      stores: this.#stores,
      peering: this.#peering,
      broker,
      logger,
    });
    const intake = new Intake({
      broker,
      sessions,
      index: this.#durable.index,
      retained,
      mailbox,
      spooling: this.#spools,
      hasRoom: () => this.#stores.hasRoom(),
      isRegistered: (name) => (this.#view.identity(name)?.standing ?? 'revoked') !== 'revoked',
    });
    this.#asks = new Asks({ intake, spools: this.#spools, toControl });
    this.#calls = new ControlCalls({
      toControl,
      later: (ms, action) => {
        const timer = setTimeout(action, ms);
        return () => clearTimeout(timer);
      },
    });
    this.#authenticator = new Authenticator({
      clock,
      isRevoked: (anchor, serialHex) => this.#view.isRevoked(anchor, serialHex),
    });
    this.#acknowledgements = new Acknowledgements({
      position: () => this.#view.position,
      toControl,
    });
    this.#registrar = new Registrar(toControl);
    const identifier = new Identifier({
      authenticator: this.#authenticator,
      view: this.#view,
      registrar: this.#registrar,
    });
    const integrityKey = Buffer.from(welcome.keys.integrity, 'base64');
    const keys = new RegisteredKeys(this.#view, integrityKey, clock);
    const replays = new ReplayGuard({
      store: once,
      durability,
      perOwner: () => this.#limits().noncesPerIdentity,
      clock,
      logger,
    });
    const signatures = new Signatures({ keys, replays, clock });
    this.#tokens = openTokens({
      clock,
      view: this.#view,
      keys,
      replays,
      calls: this.#calls,
      document: () => this.#currentPolicy().document,
    });
    this.#admission = new SourceAdmission({ clock, limits: () => this.#limits() });
    this.#turnstile = new Turnstile({
      clock,
      limits: () => this.#limits(),
      failures: this.#admission.failures,
    });
    const identify = async (connection: SecureConnection): Promise<Identified> => {
      const found = await identifier.identify(connection);
      if (found.ok) this.#counters.seen(found.name, clock.now());
      // Who may not be served has cost a handshake all the same.
      if (!found.ok || found.certificateRevoked || mayNeverConnect(found.identity.standing))
        this.#admission.failed(connection.remoteAddress);
      return found;
    };
    const ports: ListenerPorts = {
      clock,
      logger,
      broker,
      retained,
      mailbox,
      sessions,
      intake,
      signatures,
      policy: () => this.#currentPolicy(),
      limits: () => this.#limits(),
      fresh: () => this.#view.fresh(),
      identify,
      identifyNow: (connection) => identifier.identifyNow(connection),
      claim: async (principal, clientId, onTakenOver, remote) => {
        try {
          return await desk.claim(principal, clientId, onTakenOver, remote);
        } catch (error) {
          // Who connects too often is a burden to its network, too.
          if (errorCodeOf(error) === 'rate') this.#admission.failed(remote);
          throw error;
        }
      },
      interestSettled: () => crossing.interestSettled(),
      count,
    };
    const protocols = deviceListeners({
      ports,
      identify,
      view: this.#view,
      signatures,
      tokens: this.#tokens,
      upstreams: this.#upstreams,
      assertions: this.#assertions,
      call: (call) => this.#calls.call(call),
      failed: (address) => this.#admission.failed(address),
      seen: (name) => this.#counters.seen(name, clock.now()),
    });
    const judge = (refusal: string | undefined): string | undefined => this.#judgeSource(refusal);
    this.#stapling = new Stapling(clock, count);
    this.#status = new StatusListener({
      clock,
      logger,
      limits: () => this.#limits(),
      call: (call) => this.#calls.call(call),
      count,
    });
    this.#statusListening = new StatusListening({
      listener: this.#status,
      limits: () => this.#limits(),
      clock,
      judge,
      logger,
      count,
    });
    this.#listening = new Listening({
      protocols,
      status: this.#statusListening,
      stapling: this.#stapling,
      admission: this.#admission,
      turnstile: this.#turnstile,
      clock,
      judge,
      tickets: new TicketRotation({
        chain: new TicketChain(welcome.keys.tickets),
        clock,
        later: (ms, action) => {
          const timer = setTimeout(action, ms);
          return () => clearTimeout(timer);
        },
      }),
      ports: welcome.ports,
      logger,
      count,
      onListening: (listener, host, port) =>
        toSupervisor({ type: 'listening', listener, host, port }),
    });
    this.#reporter = setInterval(() => this.#report(), reportMs);
  }

  applySnapshot(frame: Frame, message: ControlToWorker): void {
    const { toControl, logger } = this.#options;
    try {
      const outcome = this.#view.apply(frame, message);
      if (outcome === 'gap') toControl({ type: 'want-snapshot' });
      if (message.type !== 'current') this.#acknowledgements.applied();
      this.#listenWhenReady();
    } catch (error) {
      // Without the acknowledgement control ends this worker: better none than one that does not know who is revoked.
      logger.error({ err: messageOf(error) }, 'snapshot refused');
      this.#acknowledgements.refused(messageOf(error));
    }
  }

  replied(id: number, ok: boolean): void {
    this.#registrar.replied(id, ok);
  }

  called(message: Extract<ControlToWorker, { type: 'called' }>): void {
    this.#calls.called(message);
  }

  asked(id: number, ask: WorkerAsk): void {
    void this.#asks.answer(id, ask);
  }

  setMembers(members: readonly Member[], change: number): void {
    const { slot, generation } = this.#options.welcome;
    this.#member ||= members.some(
      (member) => member.slot === slot && member.generation === generation,
    );
    this.#peering.setMembers(members, change);
    this.#durable.membersChanged();
    this.#listenWhenReady();
  }

  /** Another worker opens the store: resolves when nothing is written to it here, until `goOn`. */
  holdStore(): Promise<void> {
    return this.#stores.hold();
  }

  goOn(): void {
    this.#stores.goOn();
    if (!this.#draining) this.#spools.storeIsFree();
  }

  /** Stops accepting, ends what is live, writes what is on its way. */
  async drain(reason: 'shutdown' | 'upgrade'): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    const { drainMs } = this.#limits();
    const spreadMs = reason === 'upgrade' ? drainMs * upgradeSpread : 0;
    await this.#listening.drain(spreadMs, drainMs - spreadMs);
    await this.#upstreams.drain(0);
    await this.#spools.drain(deliveryDrainMs);
    clearInterval(this.#reporter);
    this.#report();
    this.#durable.close();
    await this.#peering.close();
    await this.#stores.close();
  }

  #listenWhenReady(): void {
    const snapshot = this.#view.current;
    if (!this.#member || snapshot === undefined || this.#opened || this.#draining) return;
    this.#opened = true;
    this.#listen(snapshot).then(
      () => this.#options.toSupervisor({ type: 'ready' }),
      (error: unknown) => {
        const hint =
          error instanceof SallyportError && error.hint !== undefined ? `; ${error.hint}` : '';
        this.#options.toSupervisor({ type: 'failed', message: `${messageOf(error)}${hint}` });
      },
    );
  }

  async #listen(snapshot: Snapshot): Promise<void> {
    // Linked to its peers first: an old worker that drains once this one is ready must not be unheard.
    await this.#peering.crossing.interestSettled();
    await this.#durable.load();
    await this.#listening.open(snapshot);
  }

  /** Of a session whose connection is not there, or not here, any more. */
  async #publishWill(ports: ListenerPorts, name: PrincipalName, will: Message): Promise<void> {
    const identity = this.#view.identity(name);
    if (identity !== undefined)
      await publishWill(ports, new ConnectedSubject(name, identity), will);
  }

  #discardSessions(names: ReadonlySet<PrincipalName> | undefined): void {
    // Of all of them, anything may have happened since this worker heard last.
    if (names === undefined) this.#durable.membersChanged();
    for (const name of names ?? []) {
      if (this.#view.identity(name)?.standing === 'revoked') this.#durable.discard(name);
    }
  }

  #judgeSource(refusal: string | undefined): string | undefined {
    const decision = this.#currentPolicy().bind('accept').decide({ refusal });
    if (decision instanceof Promise) return 'undecided';
    return decision.allowed ? undefined : decision.detail;
  }

  #compile(document: PolicyDocument): void {
    this.#generation += 1;
    this.#policy = compilePolicy(document, this.#generation, {
      breakers: this.#breakers,
      concurrency: this.#concurrency,
    });
    for (const protocol of this.#listening.protocols) protocol.policyChanged(undefined);
  }

  #changeTls(tls: TlsMaterial): void {
    this.#authenticator.setAnchors(this.#currentPolicy().document.trustDomain, tls);
    this.#listening.update(tls);
    this.#status.changeTls(tls);
    for (const protocol of this.#listening.protocols) protocol.trustChanged();
  }

  #changeBackends(backends: readonly BackendSettings[]): void {
    this.#spools.update(backends, this.#currentPolicy().document.trustDomain);
  }

  #revokedAmong(serials: ReadonlySet<string> | undefined): (certificate: string) => boolean {
    if (serials !== undefined) return (certificate) => serials.has(certificate);
    return (certificate) => {
      const anchor = anchorOf(certificate);
      return this.#view.isRevoked(anchor, certificate.slice(anchor.length + 1));
    };
  }

  #currentPolicy(): Policy {
    if (this.#policy === undefined) throw new SallyportError('internal', 'no policy yet');
    return this.#policy;
  }

  #limits(): LimitsDocument {
    return this.#currentPolicy().document.limits;
  }

  #conductRules(): ConductRules | undefined {
    if (this.#policy === undefined) return undefined;
    const { limits, clones } = this.#policy.document;
    const { connectsPerMinute, serviceConnectsPerMinute, sessionsPerIdentity } = limits;
    return {
      clones,
      connects: {
        // What it may have at once it may also begin at once, when the gateway has started anew.
        perMinute: Math.max(connectsPerMinute, sessionsPerIdentity),
        servicePerMinute: Math.max(serviceConnectsPerMinute, sessionsPerIdentity),
        longestMs: limits.connectPenaltyMs,
      },
    };
  }

  #suspectClone({ principal, addresses }: Suspicion, rule: CloneRule): void {
    const { logger, toControl } = this.#options;
    this.#counters.count('clone_suspected');
    const remotes = addresses.map(({ address }) => address);
    logger.warn({ principal, remotes, rule }, 'a device is used from two addresses in turn');
    toControl({ type: 'clone', principal, addresses });
  }

  #report(): void {
    const metrics = this.#counters.report({
      connections: this.#listening.connections,
      sessions: this.#listening.sessions,
      status_connections: this.#statusListening.connections,
      half_open: this.#admission.halfOpen,
      admission_waiting: this.#turnstile.waiting,
      admission_per_second: this.#turnstile.perSecond,
      ...this.#spools.gauges(),
      ...this.#upstreams.gauges(),
      resident_memory_bytes: process.memoryUsage.rss(),
    });
    this.#options.toControl({ type: 'metrics', metrics });
  }
}

/** A quarantined device may ask for the time, and comes back for more when it is released. */
function mayNeverConnect(standing: Standing): boolean {
  return standing === 'suspended' || standing === 'revoked';
}

/** Names of trust anchors have no colon; serial numbers are hex. */
function anchorOf(certificate: string): string {
  return certificate.slice(0, certificate.lastIndexOf(':'));
}
