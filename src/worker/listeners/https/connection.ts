/**
 * One HTTPS connection: who it is, its requests one at a time and in order, its time limits, and the ways in which it
 * ends. What the requests mean is in the `handle-*` files.
 */
import type { RequestText } from '../../../common/codec/http/request-parser.ts';
import type { DenyCode } from '../../../common/base/errors.ts';
import { messageOf, SallyportError } from '../../../common/base/errors.ts';
import { LogBudget } from '../../../common/base/log-budget.ts';
import type { PrincipalName, Standing } from '../../../common/base/principal.ts';
import { deny } from '../../policy/decision.ts';
import type { SecureConnection } from '../../transport/secure-connection.ts';
import { ConnectedSubject, mayCome } from '../identified.ts';
import type { Identified } from '../identified.ts';
import { Checks } from './checks.ts';
import { Cut } from '../http/cut.ts';
import type { Ending, Exchange } from '../http/exchange.ts';
import { HttpEngine } from '../http/http-engine.ts';
import type { HttpConnection } from '../http/http-engine.ts';
import { Stall } from '../http/stall.ts';
import { handleRequest } from './handle-request.ts';
import { handleUpgrade } from './handle-upgrade.ts';
import type { UpgradingConnection } from './handle-upgrade.ts';
import type { Peer, PeerConnection } from './peer.ts';
import type { HttpsPorts } from './ports.ts';
import type { Presence } from './presences.ts';
import { Forwarding } from './proxied/forwarding.ts';
import { Tunnel, tunnelRoute } from './proxied/tunnel.ts';
import type { TunnelledConnection } from './proxied/tunnel.ts';
import { WebSocketConnection } from './websocket-connection.ts';
import { asksForWebSocket, webSocketPath } from './websocket-handshake.ts';
import type { Problem } from '../http/wire.ts';
import { asBytes, problems } from '../http/wire.ts';

/** Whoever is to go has this long to take its answer; standing changes allow one second in all. */
const closeLimitMs = 700;
/** Lines of log that one connection may cause per second. */
const linesPerSecond = 1;

/** What the listener does for its connections. */
export interface ConnectionOwner {
  /** The log's share of everything that peers can cause. */
  readonly logBudget: LogBudget;
  /** What a peer that has not authenticated can cause; a share of its own, so that strangers silence nobody. */
  readonly strangersLogBudget: LogBudget;
  /** One more connection of the identity. @throws SallyportError `quota` or `busy`. */
  join(principal: PrincipalName, remote: string): Promise<Presence>;
  /** The listener is ending its connections. */
  readonly draining: boolean;
  /** Gone, or no longer HTTP. */
  ended(connection: HttpsConnection): void;
}

export class HttpsConnection implements HttpConnection, PeerConnection {
  readonly ports: HttpsPorts;
  readonly transport: SecureConnection;
  readonly #owner: ConnectionOwner;
  readonly #openedAt: number;
  readonly #logBudget: LogBudget;
  #phase: 'identifying' | 'refused' | 'live' | 'closed' = 'identifying';
  #peer: Peer | undefined;
  #refusedFor: DenyCode = 'busy';
  /** Answers somebody who is not let in and has not finished asking. */
  #answerUnasked: (() => void) | undefined;
  /** With which standing it was let in: a quarantined device that is still quarantined may stay. */
  #admittedAs: Standing = 'active';
  #current: Exchange | undefined;
  /** What the connection has become, when it has become one. */
  #tunnel: Tunnel | undefined;
  /** There once it is known who it is. */
  #engine: HttpEngine | undefined;
  /** The next answer is the last. */
  #ending = false;
  /** The last answer was given: whatever else arrives is no request. */
  #closing = false;
  readonly #cut: Cut;
  readonly #stall = new Stall();
  #subjectName = '';
  #held: Buffer | undefined;

  constructor(ports: HttpsPorts, transport: SecureConnection, owner: ConnectionOwner) {
    this.ports = ports;
    this.transport = transport;
    this.#owner = owner;
    this.#openedAt = ports.clock.monotonic();
    this.#logBudget = new LogBudget(linesPerSecond, ports.clock);
    this.#cut = new Cut(ports.clock, () => transport.destroy());
    transport.onClose = () => this.#ended();
    transport.onData = (chunk) => this.#hold(chunk);
    void this.#identify().catch((error: unknown) => this.fault(error));
  }

  get peer(): Peer | undefined {
    return this.#peer;
  }

  get draining(): boolean {
    return this.#owner.draining;
  }

  get ending(): boolean {
    return this.#ending;
  }

  receive(exchange: Exchange): void {
    // After a last answer nothing that a peer has sent along is ever looked at (RFC 9112 §9.6).
    if (this.#phase !== 'live' || this.#ending || this.#closing) {
      this.#engine?.discard();
      return;
    }
    const peer = this.#peer;
    if (peer === undefined) throw new SallyportError('internal', 'a request without a peer');
    this.ports.count('https_requests');
    this.#current = exchange;
    const handling = handleRequest(this, peer, exchange);
    if (handling !== undefined) handling.catch((error: unknown) => this.fault(error));
  }

  sentAhead(): void {
    this.ports.count('https_sent_ahead');
    this.endFor('malformed', 'requests before the answer to the one before them');
  }

  mayUpgrade(request: RequestText): boolean {
    const isOpen = this.#phase === 'live' && !this.#ending && !this.#closing;
    if (!isOpen || this.draining) return false;
    return asksForWebSocket(request) || this.#routeOf(request) !== undefined;
  }

  /** A request for which `mayUpgrade` holds. */
  upgrade(request: RequestText): void {
    const peer = this.#peer;
    if (peer === undefined) throw new SallyportError('internal', 'an upgrade without a peer');
    this.ports.count('https_requests');
    const found = this.#routeOf(request);
    const resource = found?.path ?? webSocketPath;
    const upgrading: UpgradingConnection & TunnelledConnection = {
      ports: this.ports,
      transport: this.transport,
      over: () => this.#phase !== 'live' || this.#closing,
      run: (step) => this.run(step),
      turnDown: (problem, code, detail, row) => {
        this.refused({ action: 'GET', resource }, code, detail, row);
        this.#closeWith(asBytes(problem, this.ports.clock.now()));
      },
      closeWith: (bytes) => this.#closeWith(bytes),
      endFor: (code, detail) => this.endFor(code, detail),
      becomeMqtt: (answer) => this.#becomeMqtt(peer, answer),
      letGo: () => this.#letGo(),
    };
    if (found !== undefined) {
      this.#tunnel = new Tunnel({ connection: upgrading, peer, request, ...found });
      this.#tunnel.start().catch((error: unknown) => this.fault(error));
      return;
    }
    void handleUpgrade(upgrading, peer, request).catch((error: unknown) => this.fault(error));
  }

  unreadable(problem: Problem, detail: string): void {
    if (this.#phase === 'closed' || this.#closing) return;
    this.refused(undefined, problem.code, detail, undefined);
    this.#closeWith(asBytes(problem, this.ports.clock.now()));
  }

  /** Ends a connection for one of the policy's codes, telling a request that waits. */
  endFor(code: DenyCode, detail: string): void {
    if (this.#phase === 'closed') return;
    if (this.#closing) {
      this.#cut.after(closeLimitMs);
      return;
    }
    this.#ending = true;
    const current = this.#current;
    if (current === undefined) {
      this.refused(undefined, code, detail, undefined);
      this.#close();
      return;
    }
    this.#cut.after(closeLimitMs);
    current.interrupt?.({ code, detail });
  }

  /** No more requests: what is under way may finish within `limitMs`. */
  shutDown(limitMs: number): void {
    if (this.#phase === 'closed') return;
    if (this.#closing) {
      this.#cut.after(limitMs);
      return;
    }
    this.#ending = true;
    if (this.#current === undefined) {
      this.#close();
      return;
    }
    this.#cut.after(limitMs);
    this.#current.interrupt?.(undefined);
  }

  join(principal: PrincipalName): Promise<Presence> {
    return this.#owner.join(principal, this.transport.remoteAddress);
  }

  /** Ends what is under way for somebody else than the connection's own identity, when that is over. */
  reviewLoan(): void {
    const loan = this.#current?.loan;
    if (loan === undefined || loan.holds()) return;
    this.endFor('standing', `what the request of ${loan.name} was proven by is over`);
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
    this.ports.count('internal_errors');
    const err = error instanceof Error ? error.stack : messageOf(error);
    const fields = { err, ...this.#who() };
    this.ports.logger.error(fields, 'a connection was closed because of a defect');
    this.transport.destroy();
  }

  log(fields: object, message: string): void {
    const { logger } = this.ports;
    const shared =
      this.#peer === undefined ? this.#owner.strangersLogBudget : this.#owner.logBudget;
    if (!this.#logBudget.take() || !shared.take()) return;
    logger.info({ ...fields, ...this.#logBudget.suppressed(), ...shared.suppressed() }, message);
  }

  refused(
    request: Pick<Exchange, 'action' | 'resource'> | undefined,
    code: DenyCode,
    detail: string,
    row: string | undefined,
  ): void {
    this.ports.count(`refused{code="${code}"}`);
    const { action, resource } = request ?? {};
    this.log({ ...this.#who(), action, resource, code, row, detail }, 'refused');
  }

  answered(exchange: Exchange, how: Ending): void {
    if (this.#current === exchange) this.#current = undefined;
    if (this.#phase === 'closed') return;
    if (how === 'stays' && !this.#ending) return;
    this.#closing = true;
    // A peer that asked for one answer only has as long to take it as any other: `limits.stalledMs`.
    if (how === 'goes') this.#cut.after(closeLimitMs);
  }

  /** Called about once a second. */
  tick(now: number): void {
    if (this.#phase === 'closed') return;
    const { limits, clock } = this.ports;
    if (this.#phase !== 'live') {
      if (now - this.#openedAt <= limits().connectMs) return;
      if (this.#closing) this.transport.destroy();
      else if (this.#answerUnasked !== undefined) this.run(this.#answerUnasked);
      else {
        this.refused(undefined, this.#refusedFor, 'no request in time', undefined);
        this.transport.destroy();
      }
      return;
    }
    if (this.#stalled(now)) {
      this.refused(this.#current, 'quota', 'what is sent is not read', undefined);
      this.transport.destroy();
      return;
    }
    if (clock.now() > (this.#peer?.notAfterMs ?? 0)) {
      this.endFor('unauthenticated', 'the certificate expired');
      return;
    }
    this.reviewLoan();
    this.#current?.tick?.(now);
    this.#engine?.tick(now);
  }

  /** Ends the connection when its identity has lost the standing with which it was let in. */
  reviewStanding(): void {
    if (this.#peer === undefined) return;
    const { subject, certificate } = this.#peer;
    const { standing, anchor } = subject.identity;
    if (!certificate.startsWith(`${anchor}:`)) {
      this.endFor('standing', 'it belongs to another trust anchor');
    } else if (standing === 'active') {
      this.#admittedAs = standing;
    } else if (standing !== this.#admittedAs) {
      this.endFor('standing', standing);
    }
  }

  /** Ends the connection when its certificate names somebody else under today's anchors. */
  reviewTrust(): void {
    if (this.#peer === undefined) return;
    const { subject, certificate } = this.#peer;
    const now = this.ports.identifyNow(this.transport);
    if (now.ok && now.name === subject.name && now.certificate === certificate) return;
    this.endFor('standing', 'its trust anchor has changed');
  }

  /** Ends what waits for messages that today's policy would not grant. */
  reviewPolicy(): void {
    this.#tunnel?.review();
    this.#current?.review?.();
    const filter = this.#current?.watches;
    if (filter === undefined || this.#peer === undefined) return;
    if (this.ports.policy().permits('subscribe', this.#peer.subject, filter)) return;
    this.#current?.interrupt?.({ code: 'forbidden', detail: `${filter} is no longer granted` });
  }

  async #identify(): Promise<void> {
    const { ports, transport } = this;
    if (!ports.fresh()) {
      this.#turnAway('busy', 'no current snapshot');
      return;
    }
    const who = await ports.identify(transport);
    this.#subjectName = who.subject;
    if (this.#phase === 'closed') return;
    if (!who.ok) {
      await this.#turnStrangerAway(who.detail);
    } else if (who.certificateRevoked) {
      this.#turnAway('standing', 'the certificate is revoked');
    } else if (!mayCome(who.identity.standing)) {
      // Nothing is claimed for it: it must not disturb the identity's budget, and holds a half-open place.
      this.#turnAway('standing', `the principal is ${who.identity.standing}`);
    } else {
      await this.#admit(who);
    }
  }

  /** The policy's first row says it, so that there is one place that does. */
  async #turnStrangerAway(detail: string): Promise<void> {
    const bound = this.ports.policy().bind('request', undefined, 'service');
    const decision = await bound.decide({ authentication: { ok: false, detail } });
    const denial = decision.allowed ? deny('unauthenticated', 'authentication', detail) : decision;
    this.#turnAway(denial.code, denial.detail);
  }

  async #admit(who: Extract<Identified, { ok: true }>): Promise<void> {
    const { ports, transport } = this;
    let presence: Presence;
    try {
      presence = await this.#owner.join(who.name, transport.remoteAddress);
    } catch (error) {
      if (!(error instanceof SallyportError)) throw error;
      this.#turnAway(error.code === 'quota' ? 'quota' : 'busy', error.message);
      return;
    }
    // What may have changed meanwhile; nothing waits between this and going live.
    const now = ports.identifyNow(transport);
    const same = now.ok && now.name === who.name && now.identity === who.identity;
    const { standing } = who.identity;
    if (this.isClosed() || !same || now.certificateRevoked || !mayCome(standing)) {
      presence.leave();
      this.#turnAway('standing', 'what was known of the identity has changed');
      return;
    }
    const subject = new ConnectedSubject(who.name, who.identity);
    subject.rates = presence.rates;
    const { name, kind, id } = subject;
    this.#peer = {
      subject,
      authentication: byCertificate,
      forwarding: new Forwarding({
        subject: { name, kind, id },
        certificate: transport.peerCertificate,
        address: transport.remoteAddress,
      }),
      checks: new Checks(subject, ports.policy),
      certificate: who.certificate,
      notAfterMs: who.notAfterMs,
      presence,
    };
    this.#admittedAs = standing;
    this.#phase = 'live';
    transport.authenticated();
    ports.count('https_connections');
    const { protocol, cipher, group, resumed } = transport;
    this.log({ ...this.#who(), tls: protocol, cipher, group, resumed }, 'connected');
    const { clock, limits } = ports;
    const engine = new HttpEngine({ transport, connection: this, clock, limits: limits() });
    this.#engine = engine;
    this.#goOn((chunk) => this.run(() => engine.receive(chunk)));
  }

  /** Nothing is looked at before it is known who it is. */
  #hold(chunk: Buffer): void {
    this.#held = this.#held === undefined ? chunk : Buffer.concat([this.#held, chunk]);
    this.transport.pause();
  }

  #goOn(take: (chunk: Buffer) => void): void {
    const held = this.#held;
    this.#held = undefined;
    if (held === undefined) return;
    this.transport.resume();
    take(held);
  }

  isClosed(): boolean {
    return this.#phase === 'closed';
  }

  /**
   * One answer, to whatever it asks: a parser, and what it makes of each request, is for those who are known.
   */
  #turnAway(code: DenyCode, detail: string): void {
    if (this.#phase === 'closed') return;
    this.#phase = 'refused';
    this.#refusedFor = code;
    const { headerBytes } = this.ports.limits();
    let head = Buffer.alloc(0);
    const answer = (): void => {
      this.#answerUnasked = undefined;
      this.#answerStranger(head, code, detail);
      head = Buffer.alloc(0);
    };
    const take = (chunk: Buffer): void => {
      if (this.#closing) return;
      head = Buffer.concat([head, chunk]);
      this.#answerUnasked = answer;
      if (head.includes('\r\n\r\n') || head.length >= headerBytes) this.run(answer);
    };
    this.transport.onData = take;
    this.#goOn(take);
  }

  #answerStranger(head: Buffer, code: DenyCode, detail: string): void {
    this.ports.count('https_requests');
    this.refused(undefined, code, detail, undefined);
    const problem = problems[code];
    const bytes = asBytes(problem, this.ports.clock.now());
    // RFC 9110 §9.3.2: an answer to HEAD has no content.
    const isHead = head.subarray(0, 5).toString('latin1') === 'HEAD ';
    const answer = isHead ? bytes.subarray(0, bytes.length - problem.body.length) : bytes;
    this.#closeWith(answer);
  }

  /**
   * From here on it is a connection of the MQTT listener. It counts as one of the identity's HTTPS connections until
   * its CONNECT was accepted, and as a session from then on: nobody has any number of either.
   */
  #becomeMqtt(peer: Peer, answer: Buffer): void {
    const { ports, transport } = this;
    const owner = this.#owner;
    const who = this.#who();
    this.#phase = 'closed';
    this.#cut.cancel();
    owner.ended(this);
    const socket = new WebSocketConnection(transport, {
      clock: ports.clock,
      framesPerSecond: () => ports.limits().controlPacketsPerSecond,
      onSettled: () => peer.presence.leave(),
      refused: (code, detail) => {
        ports.count(`refused{code="${code}"}`);
        if (!owner.logBudget.take()) return;
        const fields = { ...who, resource: webSocketPath, code, detail };
        ports.logger.info({ ...fields, ...owner.logBudget.suppressed() }, 'refused');
      },
    });
    transport.write(answer);
    ports.count('https_upgrades');
    ports.acceptMqtt(socket);
    const rest = this.#letGo();
    if (rest.length > 0) socket.receive(rest);
  }

  #letGo(): Buffer {
    return this.#engine?.letGo() ?? noBytes;
  }

  #stalled(now: number): boolean {
    const { stalledMs } = this.ports.limits();
    return this.#stall.look(this.transport, now) > stalledMs;
  }

  #who(): object {
    const { remoteAddress, remotePort } = this.transport;
    return {
      ssl_client_s_dn: this.#subjectName,
      principal: this.#peer?.subject.name,
      remote: `${remoteAddress}:${remotePort}`,
    };
  }

  #routeOf(request: RequestText): ReturnType<typeof tunnelRoute> {
    if (this.#peer === undefined) return undefined;
    return tunnelRoute(request, this.ports.policy(), this.#peer.subject.id);
  }

  /** Says this, and nothing after it. */
  #closeWith(bytes: Buffer): void {
    if (this.#phase === 'closed' || this.#closing) return;
    if (bytes.length > 0) this.transport.write(bytes);
    this.#close();
  }

  #close(): void {
    this.#closing = true;
    this.#tunnel?.cut();
    this.transport.end(closeLimitMs);
  }

  #ended(): void {
    if (this.#phase === 'closed') return;
    this.#phase = 'closed';
    this.#cut.cancel();
    this.#held = undefined;
    this.#current?.abandon();
    this.#tunnel?.cut();
    this.#peer?.presence.leave();
    this.#owner.ended(this);
  }
}

const noBytes = Buffer.alloc(0);
const byCertificate = Object.freeze({ ok: true, by: 'certificate' });
