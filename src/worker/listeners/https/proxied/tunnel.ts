/**
 * WebSocket through a proxied route (RFC 6455 §4.2): the handshake is judged and carried to the upstream as any request; when
 * the upstream switches, bytes go both ways as they are, each side as fast as the other takes them, until one of them ends or
 * the device may no longer be here.
 */
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { RequestText } from '../../../../common/codec/http/request-parser.ts';
import { canonicalTarget } from '../../../../common/base/canonical-path.ts';
import type { DenyCode } from '../../../../common/base/errors.ts';
import { SallyportError } from '../../../../common/base/errors.ts';
import { printable } from '../../../../common/base/principal.ts';
import { Place } from '../../../policy/concurrency.ts';
import type { Policy } from '../../../policy/policy.ts';
import type { CompiledProxied } from '../../../policy/proxied-routes.ts';
import type {
  AnswerHead,
  UpgradeAnswerer,
  UpgradeCall,
  UpstreamFailure,
} from '../../../routes/upstream/ports.ts';
import type { SecureConnection } from '../../../transport/secure-connection.ts';
import { readHead } from '../../http/request-head.ts';
import type { RequestHead } from '../../http/request-head.ts';
import { problems, retryLater, tooFast, unknownExpectation } from '../../http/wire.ts';
import type { Problem } from '../../http/wire.ts';
import { isOwnPage } from '../own-names.ts';
import type { Peer } from '../peer.ts';
import type { HttpsPorts } from '../ports.ts';
import { showsToken } from '../token-peer.ts';
import { asksForUpgrade } from '../websocket-handshake.ts';
import { answerLines } from './answer-headers.ts';
import { upstreamLines } from './upstream-lines.ts';

/** A server has this long for what a device has sent before it went. */
const lastWordsMs = 500;
const noBytes = Buffer.alloc(0);

/** What a tunnel needs of its connection, whose parser has let go. */
export interface TunnelledConnection {
  readonly ports: HttpsPorts;
  readonly transport: SecureConnection;
  /** Nothing may be answered any more. */
  over(): boolean;
  run(step: () => void): void;
  /** Answers, and ends the connection. */
  turnDown(problem: Problem, code: DenyCode, detail: string, row?: string): void;
  /** Writes this and ends the connection. */
  closeWith(bytes: Buffer): void;
  /** As `HttpsConnection.endFor`. */
  endFor(code: DenyCode, detail: string): void;
  /** As `HttpEngine.letGo`. */
  letGo(): Buffer;
}

/** Which route a request that asks for WebSocket is for, when that route lets it through. */
export function tunnelRoute(
  request: RequestText,
  policy: Policy,
  id: string,
): { readonly route: CompiledProxied; readonly path: string } | undefined {
  const { method } = request;
  if (!asksForUpgrade(request) || policy.document.proxied.length === 0) return undefined;
  const target = canonicalTarget(request.target);
  if (!target.ok) return undefined;
  const route = policy.proxied(method, target.path, id);
  return route?.document.webSocket === true ? { route, path: target.path } : undefined;
}

export interface TunnelParts {
  readonly connection: TunnelledConnection;
  readonly peer: Peer;
  readonly request: RequestText;
  readonly route: CompiledProxied;
  /** Canonical. */
  readonly path: string;
}

export class Tunnel implements UpgradeAnswerer {
  readonly #parts: TunnelParts;
  readonly #place = new Place();
  #call: UpgradeCall | undefined;
  #stream: Duplex | undefined;
  #isOver = false;

  constructor(parts: TunnelParts) {
    this.#parts = parts;
  }

  /** @returns a promise that rejects for a defect only. */
  async start(): Promise<void> {
    const { connection, peer, request, route, path } = this.#parts;
    const { ports } = connection;
    const head = readHead(request, ports.limits().headers);
    if ('problem' in head) {
      connection.turnDown(head.problem, head.problem.code, head.detail);
      return;
    }
    if (showsToken(peer, head, route)) {
      // Whoever shows one wants to be whom it names; and passed on, the backend could show it here in its turn.
      connection.turnDown(problems.unauthenticated, 'unauthenticated', 'a token for WebSocket');
      return;
    }
    const decision = await peer.checks.proxied(route).decide({
      authentication: peer.authentication,
      method: head.method,
      path,
      bodyBytes: 0,
      payload: noBytes,
      contentType: head.contentType,
      place: this.#place,
      signed: ports.signatures.signedRequest({
        method: head.method,
        path,
        query: head.query,
        rawHeaders: request.rawHeaders,
        body: noBytes,
        principal: peer.subject.name,
      }),
    });
    if (connection.over() || this.#isOver) return;
    if (!decision.allowed) {
      const { code, detail, row, retryAfterMs } = decision;
      const problem = code === 'rate' ? tooFast(retryAfterMs) : problems[code];
      connection.turnDown(problem, code, detail, row);
      return;
    }
    this.#ask(head);
  }

  /** The upstream does not switch. What its body says is not worth another parser: the device is told the rest. */
  head({ status, headers }: AnswerHead): void {
    const { connection } = this.#parts;
    const lines = answerLines(headers).filter((_, i, all) => !isAboutBody(all[i - (i % 2)]));
    const length = status === 204 || status === 304 ? [] : ['Content-Length', '0'];
    const answer = headBytes(status, [...lines, ...length, 'Connection', 'close']);
    this.#call?.abort();
    connection.run(() => connection.closeWith(answer));
  }

  data(): boolean {
    return true;
  }

  end(): void {}

  failed({ code, server, detail, retryAfterMs }: UpstreamFailure): void {
    const { connection } = this.#parts;
    const said = server === undefined ? detail : `${server}: ${detail}`;
    connection.run(() => connection.turnDown(retryLater(code, retryAfterMs), code, said));
  }

  opened({ headers }: AnswerHead, stream: Duplex): void {
    const { connection } = this.#parts;
    this.#stream = stream;
    stream.on('error', () => stream.destroy());
    if (this.#isOver || connection.over()) {
      stream.destroy();
      return;
    }
    connection.ports.count('proxied_tunnels');
    connection.run(() => this.#open(stream, answerLines(headers)));
  }

  /** Its connection has ended, or is to end now. */
  cut(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#place.leave();
    const stream = this.#stream;
    if (stream === undefined) {
      this.#call?.abort();
    } else if (stream.writableLength === 0) {
      stream.destroy();
    } else {
      const timer = setTimeout(() => stream.destroy(), lastWordsMs);
      stream.once('close', () => clearTimeout(timer));
      stream.end(() => stream.destroy());
    }
  }

  /** What today's policy would not grant does not go on. */
  review(): void {
    const { connection, peer, path, route } = this.#parts;
    const policy = connection.ports.policy();
    const today = policy.proxied('GET', path, peer.subject.id);
    const mayGoOn =
      today?.name === route.name &&
      today.document.webSocket &&
      today.authenticate.has(peer.authentication.by) &&
      policy.permitsRequest(peer.subject, 'GET', path);
    if (!mayGoOn) connection.endFor('forbidden', 'no longer granted');
  }

  #ask(head: RequestHead): void {
    const { connection, peer, request, route, path } = this.#parts;
    const { ports } = connection;
    const { origin, query } = head;
    if (origin !== undefined && !isOwnPage(origin, ports.policy().document.pages)) {
      connection.turnDown(problems.forbidden, 'forbidden', `Origin ${printable(origin)}`);
      return;
    }
    if (request.expect !== undefined) {
      connection.turnDown(unknownExpectation, 'malformed', 'Expect');
      return;
    }
    const raw = request.rawHeaders;
    const asked = upstreamLines(ports, peer, { head, raw, path, route: route.name });
    if ('problem' in asked) {
      const { problem, detail } = asked;
      connection.turnDown(problem, problem.code, detail);
      return;
    }
    const caller = peer.subject.name;
    try {
      this.#call = ports.upstreams.upgrade(route.document, { path, query, ...asked, caller }, this);
    } catch (error) {
      if (!(error instanceof SallyportError) || error.code !== 'malformed') throw error;
      connection.turnDown(problems.malformed, 'malformed', error.message);
    }
  }

  #open(stream: Duplex, lines: readonly string[]): void {
    const { connection } = this.#parts;
    const { transport } = connection;
    const said = ['Upgrade', 'websocket', 'Connection', 'Upgrade', ...lines];
    transport.onData = (piece) => {
      if (!stream.write(piece)) transport.pause();
    };
    transport.onDrain = () => stream.resume();
    transport.write(headBytes(switching, said));
    stream.on('drain', () => transport.resume());
    stream.on('data', (piece: Buffer) => {
      if (!transport.write(piece)) stream.pause();
    });
    const gone = (): void => connection.run(() => connection.closeWith(noBytes));
    stream.once('end', gone);
    stream.once('close', gone);
    stream.resume();
    const rest = connection.letGo();
    if (rest.length > 0) transport.onData(rest);
  }
}

const switching = 101;

function headBytes(status: number, lines: readonly string[]): Buffer {
  let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`;
  for (let i = 0; i + 1 < lines.length; i += 2) text += `${lines[i]}: ${lines[i + 1]}\r\n`;
  return Buffer.from(`${text}\r\n`, 'latin1');
}

function isAboutBody(name: string | undefined): boolean {
  return name !== undefined && /^content-[a-z]+$/i.test(name);
}
