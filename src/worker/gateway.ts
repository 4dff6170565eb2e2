/**
 * The worker's composition root: opens the store, joins the peers, and fits listeners, policy, broker and transport
 * together around the snapshot.
 */
import type { Clock } from '../common/base/clock.ts';
import { messageOf, SallyportError } from '../common/base/errors.ts';
import type { JsonLogger } from '../common/base/json-logger.ts';
import type { LimitsDocument, PolicyDocument } from '../common/config/policy-document.ts';
import type { Frame } from '../common/ipc/frames.ts';
import type {
  ControlToWorker,
  Member,
  WorkerToControl,
  WorkerToSupervisor,
  WorkerWelcome,
} from '../common/ipc/messages.ts';
import type { ListenAddress, Snapshot, TlsMaterial } from '../common/ipc/snapshot.ts';
import { Broker } from './broker/broker.ts';
import { Identifier } from './identify.ts';
import { MqttListener } from './listeners/mqtt/listener.ts';
import { WorkerCounters } from './metrics.ts';
import { Peering } from './peering/peering.ts';
import { Breakers } from './policy/breakers.ts';
import { compilePolicy } from './policy/compile.ts';
import type { Policy } from './policy/policy.ts';
import { Registrar } from './registrar.ts';
import { SnapshotView } from './snapshot/snapshot-view.ts';
import { openRetainedStore } from './store/open.ts';
import type { OpenedStore } from './store/open.ts';
import { Authenticator } from './transport/authenticate.ts';
import { SourceAdmission } from './transport/source-admission.ts';
import { TlsListener } from './transport/tls-server.ts';

const reportMs = 1_000;
/** An upgrade spreads the disconnections over this part of the drain time. */
const upgradeSpread = 0.7;

export interface GatewayOptions {
  readonly welcome: WorkerWelcome;
  readonly clock: Clock;
  readonly logger: JsonLogger;
  readonly toSupervisor: (message: WorkerToSupervisor) => void;
  readonly toControl: (message: WorkerToControl) => void;
}

export class Gateway {
  readonly #options: GatewayOptions;
  readonly #store: OpenedStore;
  readonly #peering: Peering;
  readonly #counters = new WorkerCounters();
  readonly #breakers: Breakers;
  readonly #view: SnapshotView;
  readonly #authenticator: Authenticator;
  readonly #registrar: Registrar;
  readonly #admission: SourceAdmission;
  readonly #mqtt: MqttListener;
  readonly #reporter: NodeJS.Timeout;
  #policy: Policy | undefined;
  #generation = 0;
  #tls: TlsListener | undefined;
  #member = false;
  #listening = false;
  #draining = false;

  /** Opens the store and joins the peers. It listens once it is a member and has a snapshot. */
  static async open(options: GatewayOptions): Promise<Gateway> {
    const gateway = new Gateway(options);
    await gateway.#peering.start();
    return gateway;
  }

  private constructor(options: GatewayOptions) {
    const { welcome, clock, logger, toControl } = options;
    const { count } = this.#counters;
    this.#options = options;
    this.#breakers = new Breakers(clock);
    this.#view = new SnapshotView(clock, {
      onPolicy: (policy) => this.#compile(policy),
      onTls: (tls) => this.#changeTls(tls),
      onLogLevel: (level) => logger.setLevel(level),
      onIdentities: (names) => {
        this.#mqtt.standingChanged(names);
        this.#mqtt.policyChanged(names);
      },
      onRevokedSerials: (serials) => this.#mqtt.certificatesRevoked(this.#revokedAmong(serials)),
    });
    this.#store = openRetainedStore({
      directory: 'store',
      key: Buffer.from(welcome.keys.storage, 'base64'),
      durability: () => this.#view.current?.durability ?? 'flushed',
      limits: () => this.#limits(),
      clock,
      logger,
    });
    this.#peering = new Peering({
      slot: welcome.slot,
      generation: welcome.generation,
      key: Buffer.from(welcome.keys.peers, 'base64'),
      clock,
      logger,
      sessionsPerIdentity: () => this.#limits().sessionsPerIdentity,
    });
    this.#authenticator = new Authenticator({
      clock,
      isRevoked: (anchor, serialHex) => this.#view.isRevoked(anchor, serialHex),
    });
    this.#registrar = new Registrar(toControl);
    const identifier = new Identifier({
      authenticator: this.#authenticator,
      view: this.#view,
      registrar: this.#registrar,
    });
    this.#admission = new SourceAdmission({ clock, limits: () => this.#limits() });
    this.#mqtt = new MqttListener({
      clock,
      logger,
      broker: new Broker({ crossing: this.#peering.crossing, clock }),
      retained: this.#store.retained,
      policy: () => this.#currentPolicy(),
      limits: () => this.#limits(),
      fresh: () => this.#view.fresh(),
      identify: async (connection) => {
        const found = await identifier.identify(connection);
        if (found.ok) this.#counters.seen(found.name, clock.now());
        return found;
      },
      identifyNow: (connection) => identifier.identifyNow(connection),
      claim: (principal, clientId, onTakenOver) =>
        this.#peering.desk.claim(principal, clientId, onTakenOver),
      interestSettled: () => this.#peering.crossing.interestSettled(),
      count,
    });
    this.#reporter = setInterval(() => this.#report(), reportMs);
  }

  applySnapshot(frame: Frame, message: ControlToWorker): void {
    const { toControl, logger } = this.#options;
    try {
      const outcome = this.#view.apply(frame, message);
      if (outcome === 'gap') toControl({ type: 'want-snapshot' });
      if (message.type !== 'current') toControl({ type: 'ack', ...this.#view.position });
      this.#listenWhenReady();
    } catch (error) {
      // Without the acknowledgement control ends this worker: better none than one that does not know who is revoked.
      logger.error({ err: messageOf(error) }, 'snapshot refused');
      toControl({ type: 'ack', ...this.#view.position, error: messageOf(error) });
    }
  }

  replied(id: number, ok: boolean): void {
    this.#registrar.replied(id, ok);
  }

  setMembers(members: readonly Member[], change: number): void {
    const { slot, generation } = this.#options.welcome;
    this.#member ||= members.some(
      (member) => member.slot === slot && member.generation === generation,
    );
    this.#peering.setMembers(members, change);
    this.#listenWhenReady();
  }

  /** Stops accepting, ends what is live, writes what is on its way. */
  async drain(reason: 'shutdown' | 'upgrade'): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    const closed = this.#tls?.stopAccepting();
    const { drainMs } = this.#limits();
    const spreadMs = reason === 'upgrade' ? drainMs * upgradeSpread : 0;
    await this.#mqtt.drain(spreadMs, drainMs - spreadMs);
    await closed;
    clearInterval(this.#reporter);
    this.#report();
    await this.#peering.close();
    await this.#store.close();
  }

  #listenWhenReady(): void {
    const snapshot = this.#view.current;
    if (!this.#member || snapshot === undefined || this.#listening || this.#draining) return;
    this.#listening = true;
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
    const { welcome, logger, toSupervisor } = this.#options;
    const address = snapshot.listeners.mqtts;
    if (address === false) return;
    this.#tls = new TlsListener({
      name: 'mqtts',
      material: snapshot.tls,
      ticketSecret: Buffer.from(welcome.keys.tickets, 'base64'),
      handshakeMs: snapshot.policy.limits.handshakeMs,
      admission: this.#admission,
      judge: (refusal) => this.#judgeSource(refusal),
      logger,
      count: this.#counters.count,
      onSecure: (connection) => this.#mqtt.accept(connection),
    });
    const wanted: ListenAddress = { ...address, port: welcome.ports['mqtts'] ?? address.port };
    // Linked to its peers first: an old worker that drains once this one is ready must not be unheard.
    await this.#peering.crossing.interestSettled();
    const port = await this.#tls.listen(wanted);
    toSupervisor({ type: 'listening', listener: 'mqtts', host: address.host, port });
  }

  #judgeSource(refusal: string | undefined): string | undefined {
    const decision = this.#currentPolicy().bind('accept').decide({ refusal });
    if (decision instanceof Promise) return 'undecided';
    return decision.allowed ? undefined : decision.detail;
  }

  #compile(document: PolicyDocument): void {
    this.#generation += 1;
    this.#policy = compilePolicy(document, this.#generation, { breakers: this.#breakers });
    this.#mqtt.policyChanged(undefined);
  }

  #changeTls(tls: TlsMaterial): void {
    this.#authenticator.setAnchors(this.#currentPolicy().document.trustDomain, tls);
    this.#tls?.update(tls);
    this.#mqtt.trustChanged();
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

  #report(): void {
    const metrics = this.#counters.report({
      connections: this.#mqtt.connections,
      sessions: this.#mqtt.sessions,
      half_open: this.#admission.halfOpen,
      resident_memory_bytes: process.memoryUsage.rss(),
    });
    this.#options.toControl({ type: 'metrics', metrics });
  }
}

/** Names of trust anchors have no colon; serial numbers are hex. */
function anchorOf(certificate: string): string {
  return certificate.slice(0, certificate.lastIndexOf(':'));
}
