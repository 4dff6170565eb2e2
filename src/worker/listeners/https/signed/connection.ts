/**
 * One HTTPS connection whose peer has shown no certificate: who asks is proven by each request. One request at a time; the
 * connection stays half-open, and may be displaced by others', until one of them has held.
 */
import type { DenyCode } from '../../../../common/base/errors.ts';
import { messageOf, SallyportError } from '../../../../common/base/errors.ts';
import { LogBudget } from '../../../../common/base/log-budget.ts';
import type { PrincipalName } from '../../../../common/base/principal.ts';
import type { IntegrityDocument } from '../../../../common/config/proxied-route.ts';
import type { Signed } from '../../../policy/integrity.ts';
import type { SecureConnection } from '../../../transport/secure-connection.ts';
import { commandFilter } from '../../../broker/commands.ts';
import { Cut } from '../../http/cut.ts';
import type { Ending, Exchange } from '../../http/exchange.ts';
import { HttpEngine } from '../../http/http-engine.ts';
import type { HttpConnection } from '../../http/http-engine.ts';
import { readHead } from '../../http/request-head.ts';
import type { RequestHead } from '../../http/request-head.ts';
import { Stall } from '../../http/stall.ts';
import type { Problem } from '../../http/wire.ts';
import { asBytes } from '../../http/wire.ts';
import { ConnectedSubject, mayCome } from '../../identified.ts';
import { Checks } from '../checks.ts';
import { answerEverybody, handleRequest, isOfCommands, seesSignature } from '../handle-request.ts';
import type { Peer, PeerConnection } from '../peer.ts';
import type { Presence } from '../presences.ts';
import { Forwarding } from '../proxied/forwarding.ts';
import type { SignedHttpsPorts } from './ports.ts';
import { prove } from './prove.ts';
import type { Proof, Unproven } from './prove.ts';
import { signingRulesOf } from './signing-rules.ts';
import type { UnprovenBodies } from './unproven-bodies.ts';

/** Whoever is to go has this long to take its answer; standing changes allow one second in all. */
const closeLimitMs = 700;
/** Lines of log that one connection may cause per second. */
const linesPerSecond = 1;

/** What the listener does for its connections. */
export interface ConnectionOwner {
  readonly logBudget: LogBudget;
  /** What a peer that has proven nothing can cause; a share of its own, so that strangers silence nobody. */
  readonly strangersLogBudget: LogBudget;
  readonly draining: boolean;
  readonly bodies: UnprovenBodies;
  /** @throws SallyportError `quota` or `busy`. */
  join(principal: PrincipalName, remote: string): Promise<Presence>;
  /** Whether what comes from this address is looked at: too much of it has not held. */
  isSlowed(address: string): boolean;
  /** A proof that came from there has held, or has not. */
  held(address: string): void;
  failed(address: string): void;
  /** The connection is no stranger's any more. */
  proven(connection: SignedHttpsConnection): void;
  ended(connection: SignedHttpsConnection): void;
}

/** Who asked last on the connection, with what is kept from one request to the next. */
interface Known {
  readonly subject: ConnectedSubject;
  readonly forwarding: Forwarding;
  readonly checks: Checks;
  readonly presence: Presence;
}

export class SignedHttpsConnection implements HttpConnection, PeerConnection {
  readonly ports: SignedHttpsPorts;
  readonly transport: SecureConnection;
  readonly #engine: HttpEngine;
  readonly #owner: ConnectionOwner;
  readonly #logBudget: LogBudget;
  readonly #since: number;
  #known: Known | undefined;
  #current: Exchange | undefined;
  #proof: Proof | undefined;
  #isProven = false;
  /** The next answer is the last. */
  #ending = false;
  /** The last answer was given: whatever else arrives is no request. */
  #closing = false;
  #closed = false;
  readonly #cut: Cut;
  readonly #stall = new Stall();

  constructor(ports: SignedHttpsPorts, transport: SecureConnection, owner: ConnectionOwner) {
    this.ports = ports;
    this.transport = transport;
    this.#owner = owner;
    this.#since = ports.clock.monotonic();
    this.#logBudget = new LogBudget(linesPerSecond, ports.clock);
    this.#cut = new Cut(ports.clock, () => transport.destroy());
    transport.onClose = () => this.#ended();
    const { clock, limits } = ports;
    this.#engine = new HttpEngine({ transport, connection: this, clock, limits: limits() });
  }

  get ending(): boolean {
    return this.#ending;
  }

  get draining(): boolean {
    return this.#owner.draining;
  }

  get isProven(): boolean {
    return this.#isProven;
  }

  receive(exchange: Exchange): void {
    // After a last answer nothing that a peer has sent along is ever looked at (RFC 9112 §9.6).
    if (this.#closed || this.#closing || this.#ending) {
      this.#engine.discard();
      return;
    }
    this.ports.count('https_requests');
    this.#current = exchange;
    this.#serve(exchange).catch((error: unknown) => this.fault(error));
  }

  sentAhead(exchange: Exchange): void {
    this.ports.count('https_sent_ahead');
    this.refused(exchange, 'malformed', 'requests before the answer to the one before them');
    this.transport.destroy();
  }

  unreadable(problem: Problem, detail: string): void {
    if (this.#closed || this.#closing) return;
    this.refused(undefined, problem.code, detail);
    this.transport.write(asBytes(problem, this.ports.clock.now()));
    this.#close();
  }

  /** Ends a connection for one of the policy's codes, telling a request that waits. */
  endFor(code: DenyCode, detail: string): void {
    if (this.#closed) return;
    this.#ending = true;
    const current = this.#current;
    if (current === undefined) {
      if (!this.#closing) this.#close();
      return;
    }
    this.#cut.after(closeLimitMs);
    current.interrupt?.({ code, detail });
  }

  /** No more requests: what is under way may finish within `limitMs`. */
  shutDown(limitMs: number): void {
    if (this.#closed) return;
    this.#ending = true;
    this.#cut.after(limitMs);
    if (this.#current !== undefined) this.#current.interrupt?.(undefined);
    else if (!this.#closing) this.#close();
  }

  join(principal: PrincipalName): Promise<Presence> {
    return this.#owner.join(principal, this.transport.remoteAddress);
  }

  run(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.fault(error);
    }
  }

  /** Whatever went wrong in the code of one connection ends that connection and nothing else. */
  fault(error: unknown): void {
    const { count, logger } = this.ports;
    count('internal_errors');
    const err = error instanceof Error ? error.stack : messageOf(error);
    logger.error({ err, ...this.#who() }, 'a connection was closed because of a defect');
    this.transport.destroy();
  }

  log(fields: object, message: string): void {
    const shared = this.#isProven ? this.#owner.logBudget : this.#owner.strangersLogBudget;
    if (!this.#logBudget.take() || !shared.take()) return;
    const { logger } = this.ports;
    logger.info({ ...fields, ...this.#logBudget.suppressed(), ...shared.suppressed() }, message);
  }

  refused(
    request: Pick<Exchange, 'action' | 'resource'> | undefined,
    code: DenyCode,
    detail: string,
    row?: string,
  ): void {
    this.ports.count(`refused{code="${code}"}`);
    // Also one that the policy has found to be no good, or not to be new.
    if (code === 'integrity') this.#owner.failed(this.transport.remoteAddress);
    const { action, resource } = request ?? {};
    this.log({ ...this.#who(), action, resource, code, row, detail }, 'refused');
  }

  answered(exchange: Exchange, how: Ending): void {
    if (this.#current === exchange) this.#current = undefined;
    this.#proof = undefined;
    if (this.#closed || (how === 'stays' && !this.#ending)) return;
    this.#closing = true;
    if (how === 'goes') this.#cut.after(closeLimitMs);
  }

  /** Called about once a second. */
  tick(now: number): void {
    if (this.#closed) return;
    if (!this.#isProven && now - this.#since > this.ports.limits().connectMs) {
      if (this.#current === undefined || this.#closing) this.transport.destroy();
      else this.endFor('unauthenticated', 'nothing was proven in time');
      return;
    }
    if (this.#stalled(now)) {
      this.refused(this.#current, 'quota', 'what is sent is not read');
      this.transport.destroy();
      return;
    }
    const proof = this.#proof;
    if (proof !== undefined && !holds(proof, this.ports.clock.now())) {
      this.endFor('unauthenticated', 'what the request was proven by is over');
      return;
    }
    this.#current?.tick?.(now);
    this.#engine.tick(now);
  }

  /** Ends what is under way for an identity that is not what it was. */
  reviewStanding(names: ReadonlySet<PrincipalName> | undefined): void {
    const proof = this.#proof;
    if (proof === undefined || (names !== undefined && !names.has(proof.name))) return;
    const { standing } = proof.identity;
    if (standing !== 'active') this.endFor('standing', standing);
    else if (!holds(proof, this.ports.clock.now())) {
      this.endFor('unauthenticated', 'what the request was proven by is over');
    }
  }

  /** Ends what waits for, or passes on, what today's policy would not grant. */
  reviewPolicy(): void {
    const exchange = this.#current;
    exchange?.review?.();
    const filter = exchange?.watches;
    const known = this.#known;
    const proof = this.#proof;
    if (filter === undefined || known === undefined || proof === undefined) return;
    const policy = this.ports.policy();
    if (policy.takes(proof.by, filter) && policy.permits('subscribe', known.subject, filter))
      return;
    exchange?.interrupt?.({ code: 'forbidden', detail: `${filter} is no longer granted` });
  }

  async #serve(exchange: Exchange): Promise<void> {
    const { ports, transport } = this;
    const head = readHead(exchange.request, ports.limits().headers);
    if ('problem' in head) return exchange.refuseWith(head.problem, head.detail);
    exchange.action = head.method;
    exchange.resource = head.path;
    if (!ports.fresh()) return exchange.refuse('busy', 'no current snapshot');
    // What does not hold on a connection is its end, so that one on which something has held is good for one guess.
    if (!this.#isProven && this.#owner.isSlowed(transport.remoteAddress)) {
      return exchange.refuse('rate', 'limits.signedFailures is reached');
    }
    const forEverybody = answerEverybody(this, exchange, head);
    if (forEverybody !== undefined) return forEverybody;
    const { bodies } = this.#owner;
    const address = transport.remoteAddress;
    const proof = await prove({ ports, bodies, address }, exchange, head);
    if (proof === undefined || exchange.over) return undefined;
    return proof.ok ? this.#serveProven(exchange, head, proof) : this.#turnAway(exchange, proof);
  }

  #turnAway(exchange: Exchange, { code, detail, challenge }: Unproven): void {
    if (code === 'unauthenticated') this.#owner.failed(this.transport.remoteAddress);
    if (challenge !== undefined) exchange.more = ['WWW-Authenticate', challenge];
    exchange.refuse(code, detail, 'authentication');
  }

  async #serveProven(exchange: Exchange, head: RequestHead, proof: Proof): Promise<void> {
    const { ports } = this;
    const { standing } = proof.identity;
    if (!mayCome(standing)) {
      // Nothing is claimed for it: it must not disturb the identity's budget, and is a stranger still.
      this.#owner.failed(this.transport.remoteAddress);
      exchange.refuse('standing', `${proof.name} is ${standing}`);
      return;
    }
    const policy = ports.policy();
    const { by, signed } = proof;
    const isNewHere = this.#known?.subject.name !== proof.name;
    // Whoever has heard a signature and shows it again is nobody: nothing is claimed, charged or seen of the identity.
    const widest = signingRulesOf(policy.document);
    if (isNewHere && signed !== undefined && !(await isNew(exchange, signed, widest))) return;
    const known = await this.#knownAs(exchange, proof);
    if (known === undefined || exchange.over) return;
    // What may have changed while its place was asked for.
    if (!holds(proof, ports.clock.now())) {
      exchange.refuse('standing', 'what was known of the identity has changed');
      return;
    }
    this.#proof = proof;
    if (isNewHere) this.#hasProven();
    const peer: Peer = {
      ...known,
      authentication: { ok: true, by },
      signed,
      certificate: `${proof.identity.anchor}:`,
      notAfterMs: proof.notAfterMs,
    };
    const { id } = known.subject;
    if (signed !== undefined && !seesSignature(ports.policy(), head.method, head.path, id)) {
      const own = isOfCommands(head.path) ? ports.policy().integrity(commandFilter(id)) : undefined;
      if (!(await isNew(exchange, signed, own ?? widest))) return;
    }
    await handleRequest(this, peer, exchange);
  }

  /** @returns undefined when it was refused. */
  async #knownAs(exchange: Exchange, { name, identity }: Proof): Promise<Known | undefined> {
    const before = this.#known;
    if (before?.subject.name === name && before.subject.identity === identity) return before;
    const { ports, transport } = this;
    let presence: Presence;
    try {
      presence = await this.#owner.join(name, transport.remoteAddress);
    } catch (error) {
      if (!(error instanceof SallyportError)) throw error;
      exchange.refuse(error.code === 'quota' ? 'quota' : 'busy', error.message);
      return undefined;
    }
    if (this.#closed) {
      presence.leave();
      return undefined;
    }
    before?.presence.leave();
    const subject = new ConnectedSubject(name, identity);
    subject.rates = presence.rates;
    const forwarding = new Forwarding({
      subject,
      certificate: undefined,
      address: transport.remoteAddress,
    });
    this.#known = { subject, forwarding, checks: new Checks(subject, ports.policy), presence };
    ports.seen(name);
    return this.#known;
  }

  #hasProven(): void {
    this.#owner.held(this.transport.remoteAddress);
    if (this.#isProven) return;
    this.#isProven = true;
    this.#owner.proven(this);
    this.transport.authenticated();
    this.ports.count('https_connections');
    const { protocol, cipher, group, resumed } = this.transport;
    this.log({ ...this.#who(), tls: protocol, cipher, group, resumed }, 'connected');
  }

  #stalled(now: number): boolean {
    const { stalledMs } = this.ports.limits();
    return this.#stall.look(this.transport, now) > stalledMs;
  }

  #who(): object {
    const { remoteAddress, remotePort } = this.transport;
    return {
      listener: 'httpsSigned',
      principal: this.#known?.subject.name,
      remote: `${remoteAddress}:${remotePort}`,
    };
  }

  #close(): void {
    this.#closing = true;
    this.transport.end(closeLimitMs);
  }

  #ended(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cut.cancel();
    this.#current?.abandon();
    this.#known?.presence.leave();
    this.#owner.ended(this);
  }
}

function holds({ notAfterMs, stands }: Proof, now: number): boolean {
  return now < notAfterMs && stands();
}

/** By these rules, for the first time. @returns false when the request is over, for that or another reason. */
async function isNew(
  exchange: Exchange,
  signed: Signed,
  rules: IntegrityDocument | undefined,
): Promise<boolean> {
  const verdict = rules && (await signed.verify(rules));
  if (verdict?.ok === true) return !exchange.over;
  exchange.refuse(verdict?.code ?? 'integrity', verdict?.detail ?? 'no rules', 'integrity');
  return false;
}
