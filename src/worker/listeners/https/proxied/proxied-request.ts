/**
 * One request to a proxied route: judged as far as it can be without its body, then with it, then carried to the upstream
 * and its answer back, piece by piece, each side only as fast as the other takes it.
 */
import { isDeepStrictEqual } from 'node:util';
import { SallyportError } from '../../../../common/base/errors.ts';
import { Place } from '../../../policy/concurrency.ts';
import type { Decision } from '../../../policy/decision.ts';
import type { ProxiedFacts } from '../../../policy/entry.ts';
import type { CompiledProxied } from '../../../policy/proxied-routes.ts';
import type {
  AnswerHead,
  Answerer,
  StreamedBody,
  UpstreamCall,
  UpstreamFailure,
} from '../../../routes/upstream/ports.ts';
import type { BodySink, Exchange, Interruption } from '../../http/exchange.ts';
import { rateFields } from '../../http/rate-fields.ts';
import type { RequestHead } from '../../http/request-head.ts';
import { problems, retryLater, unsupportedCoding } from '../../http/wire.ts';
import { isOwnPage } from '../own-names.ts';
import type { Peer, PeerConnection } from '../peer.ts';
import { answerLines } from './answer-headers.ts';
import { MeteredBody } from './metered-body.ts';
import { upstreamLines } from './upstream-lines.ts';

/**
 * RFC 9110 §9.3.1, §9.3.5: content has no meaning with these, and a server that does not read it takes it for somebody else's
 * next request.
 */
const withoutContent: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS']);
const noBytes = Buffer.alloc(0);
/**
 * A body of so many bytes goes on when it is there: one write with its head instead of two, and a device that dribbles holds
 * no connection of a server meanwhile.
 */
const smallBytes = 16_384;

export interface ProxiedParts {
  readonly connection: PeerConnection;
  readonly peer: Peer;
  readonly exchange: Exchange;
  readonly head: RequestHead;
  /** Canonical. */
  readonly path: string;
  readonly route: CompiledProxied;
}

export class ProxiedRequest implements Answerer, BodySink {
  readonly #parts: ProxiedParts;
  readonly #place = new Place();
  #call: UpstreamCall | undefined;
  /** The upstream has said all that it will say. */
  #isAnswered = false;
  #status = 0;

  constructor(parts: ProxiedParts) {
    this.#parts = parts;
  }

  get route(): CompiledProxied {
    return this.#parts.route;
  }

  /** Canonical. */
  get path(): string {
    return this.#parts.path;
  }

  /** @returns a promise that rejects for a defect only. */
  start(): Promise<void> | undefined {
    const { exchange, head, peer, route } = this.#parts;
    if (head.bodyBytes !== 0 && withoutContent.has(head.method)) {
      exchange.refuse('malformed', `${head.method} with content`);
      return undefined;
    }
    exchange.onOver = () => this.#over();
    exchange.interrupt = (why) => this.#interrupt(why);
    exchange.review = () => this.#review();
    const decision = peer.checks.proxied(route).decideHead(this.#facts(undefined));
    return decision instanceof Promise
      ? decision.then((settled) => this.#headJudged(settled))
      : this.#headJudged(decision);
  }

  // What the upstreams call comes from outside of the connection: a fault in it is the connection's end and nobody else's.

  head({ status, headers }: AnswerHead): void {
    try {
      this.#status = status;
      this.#parts.exchange.startAnswer(status, answerLines(headers));
    } catch (error) {
      this.#parts.connection.fault(error);
    }
  }

  data(piece: Buffer): boolean {
    return this.#parts.exchange.writeAnswer(piece);
  }

  end(last: Buffer | undefined): void {
    this.#isAnswered = true;
    const { connection, exchange, peer, head, path, route } = this.#parts;
    const { logger } = connection.ports;
    try {
      exchange.endAnswer(last);
    } catch (error) {
      connection.fault(error);
    }
    if (!logger.isLevelEnabled('debug')) return;
    const request = { principal: peer.subject.name, action: head.method, resource: path };
    logger.debug({ ...request, route: route.name, status: this.#status }, 'proxied');
  }

  failed({ code, server, detail, retryAfterMs }: UpstreamFailure): void {
    this.#isAnswered = true;
    const { connection, exchange } = this.#parts;
    try {
      const said = server === undefined ? detail : `${server}: ${detail}`;
      exchange.fail(retryLater(code, retryAfterMs), said);
    } catch (error) {
      connection.fault(error);
    }
  }

  drained(): void {
    this.#parts.exchange.resumeBody();
  }

  piece(piece: Buffer): boolean {
    return this.#call?.write(piece) ?? true;
  }

  complete(): void {
    this.#call?.end();
  }

  #facts(payload: Buffer | undefined): ProxiedFacts {
    const { connection, peer, exchange, head, path, route } = this.#parts;
    const { method, bodyBytes, contentType, query } = head;
    const principal = peer.subject.name;
    const { rawHeaders } = exchange.request;
    const signed =
      payload === undefined || route.document.integrity === undefined
        ? undefined
        : (peer.signed ??
          connection.ports.signatures.signedRequest({
            method,
            path,
            query,
            rawHeaders,
            body: payload,
            principal,
          }));
    return {
      authentication: peer.authentication,
      method,
      path,
      bodyBytes,
      payload,
      contentType,
      place: this.#place,
      signed,
    };
  }

  #headJudged(decision: Decision): Promise<void> | undefined {
    const { connection, peer, exchange, head, route } = this.#parts;
    if (exchange.over) return undefined;
    exchange.more = rateFields(peer.subject.rates, peer.checks.proxied(route).rates);
    if (!decision.allowed) {
      exchange.deny(decision);
      return undefined;
    }
    if (
      head.origin !== undefined &&
      !isOwnPage(head.origin, connection.ports.policy().document.pages)
    ) {
      exchange.refuse('forbidden', 'asked by a page of another origin');
      return undefined;
    }
    if (head.bodyBytes === 0) return this.#judgeBody(noBytes, undefined);
    const bytes = head.bodyBytes === 'unknown' ? undefined : head.bodyBytes;
    const isJudgedWhole = route.payload !== undefined || route.document.integrity !== undefined;
    if (!isJudgedWhole && (bytes === undefined || bytes > smallBytes)) {
      return this.#judgeBody(undefined, { bytes });
    }
    // Nothing is ever decompressed here, so nobody could say what it is.
    const coding = head.contentCoding?.toLowerCase() ?? 'identity';
    if (route.payload !== undefined && coding !== 'identity') {
      exchange.refuseWith(unsupportedCoding, 'Content-Encoding');
      return undefined;
    }
    exchange.readBody(route.document.bodyBytes, (payload) => {
      connection.run(() => {
        this.#judgeBody(payload, payload)?.catch((error: unknown) => connection.fault(error));
      });
    });
    return undefined;
  }

  #judgeBody(
    payload: Buffer | undefined,
    body: Buffer | StreamedBody | undefined,
  ): Promise<void> | undefined {
    const { peer, route } = this.#parts;
    const decision = peer.checks.proxied(route).decideBody(this.#facts(payload));
    if (decision instanceof Promise) {
      return decision.then((settled) => this.#bodyJudged(settled, body));
    }
    this.#bodyJudged(decision, body);
    return undefined;
  }

  #bodyJudged(decision: Decision, body: Buffer | StreamedBody | undefined): void {
    const { exchange } = this.#parts;
    if (exchange.over) return;
    if (decision.allowed) this.#forward(body);
    else exchange.deny(decision);
  }

  #forward(body: Buffer | StreamedBody | undefined): void {
    const { connection, peer, exchange, head, path, route } = this.#parts;
    const { ports } = connection;
    const { method, query } = head;
    const raw = exchange.request.rawHeaders;
    const asked = upstreamLines(ports, peer, { head, raw, path, route: route.name });
    if ('problem' in asked) {
      exchange.refuseWith(asked.problem, asked.detail);
      return;
    }
    ports.count('proxied_requests');
    // Collecting the body has put its own in this place.
    exchange.interrupt = (why) => this.#interrupt(why);
    exchange.onDrain = () => this.#call?.resume();
    const caller = peer.subject.name;
    try {
      const { common, headers } = asked;
      const request = { method, path, query, common, headers, caller, body };
      this.#call = ports.upstreams.request(route.document, request, this);
    } catch (error) {
      if (!(error instanceof SallyportError) || error.code !== 'malformed') throw error;
      exchange.refuse('malformed', error.message);
      return;
    }
    if (body === undefined || Buffer.isBuffer(body)) return;
    const isMetered = body.bytes === undefined && route.byteBuckets.length > 0;
    const sink = isMetered
      ? new MeteredBody({ sink: this, subject: peer.subject, route, connection, exchange })
      : this;
    exchange.streamBody(route.document.bodyBytes, sink);
  }

  /** A stop, or what a device has sent after this, leaves it to finish: its answer is the last. */
  #interrupt(why: Interruption | undefined): void {
    if (why === undefined || why.code === 'malformed') return;
    this.#parts.exchange.fail(problems[why.code], why.detail);
  }

  /** What today's policy would not grant does not go on, however long it takes, and what it judges otherwise begins anew. */
  #review(): void {
    const { connection, peer, exchange, head, path, route } = this.#parts;
    const policy = connection.ports.policy();
    const today = policy.proxied(head.method, path, peer.subject.id);
    const takesProof = today?.authenticate.has(peer.authentication.by) === true;
    if (!takesProof || !policy.permitsRequest(peer.subject, head.method, path)) {
      exchange.fail(problems.forbidden, 'no longer granted');
      return;
    }
    const isSame = today === route || isDeepStrictEqual(today.document, route.document);
    if (this.#call === undefined && !isSame) exchange.refuse('busy', 'its route has changed');
  }

  #over(): void {
    this.#place.leave();
    if (!this.#isAnswered) this.#call?.abort();
  }
}
