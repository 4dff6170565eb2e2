/**
 * What proxied requests are to whoever handles them, and what the upstreams need from outside.
 *
 * `Upstreams` is the implementation of `UpstreamPort`. Nothing of an answerer is called before `request` or `upgrade` has
 * returned. After `end`, `failed`, `opened` or `abort` nothing of it is called any more.
 */
import type { Duplex } from 'node:stream';
import type { Clock } from '../../../common/base/clock.ts';
import type { Logger } from '../../../common/base/logger.ts';
import type { ProxiedRouteDocument } from '../../../common/config/proxied-route.ts';
import type { Timers } from '../ports.ts';
import type { CommonHeaders } from './common-headers.ts';

export interface UpstreamPort {
  request(
    route: Pick<ProxiedRouteDocument, 'name' | 'path'>,
    request: UpstreamRequest,
    answerer: Answerer,
  ): UpstreamCall;
  /** WebSocket. An answer other than 101 is told as that of any request. */
  upgrade(
    route: Pick<ProxiedRouteDocument, 'name' | 'path'>,
    request: UpgradeRequest,
    answerer: UpgradeAnswerer,
  ): UpgradeCall;
}

/** What is asked of the server, but for its body. */
export interface UpgradeRequest {
  /** Canonical; the settings' `rewrite` is applied here. */
  readonly path: string;
  /** Without `?`; undefined: none. */
  readonly query: string | undefined;
  /**
   * Name and value in turn. MUST be without `Host`, `Connection`, `Content-Length`, `Transfer-Encoding`, `Upgrade`, `Expect`,
   * `TE`, `Trailer` and whatever else belongs to one connection: what is needed of them is added here.
   */
  readonly headers: readonly string[];
  /** Sent before them, of the same kind. */
  readonly common?: CommonHeaders | undefined;
  /** The principal that asks; a server that fails for one alone is not kept from the others. */
  readonly caller: string;
}

export interface UpstreamRequest extends UpgradeRequest {
  /** As the device has sent it. */
  readonly method: string;
  /** A buffer belongs to the call from then on. */
  readonly body: Buffer | StreamedBody | undefined;
}

/** What is handed to `UpstreamCall.write` piece by piece. */
export interface StreamedBody {
  /** Undefined: it is sent in chunks. */
  readonly bytes: number | undefined;
}

export interface UpstreamCall {
  /**
   * A piece of a streamed body; it belongs to the call from then on. More than was announced ends the call with `failed`.
   * @returns false: the caller SHOULD wait for `drained`; what it writes before that is kept in memory.
   */
  write(piece: Buffer): boolean;
  /** The streamed body is complete. Less than was announced ends the call with `failed`. */
  end(): void;
  /** After `data` has returned false: more may come. */
  resume(): void;
  /** Nobody wants the answer any more, or the request's body will never be complete. May be called at any time. */
  abort(): void;
}

export interface UpgradeCall {
  resume(): void;
  abort(): void;
}

export interface AnswerHead {
  /** 200 … 599. */
  readonly status: number;
  /**
   * Name and value in turn, as the server wrote them, without what belongs to its connection (RFC 9110 §7.6.1): `Connection`
   * and what it names, `Keep-Alive`, `Proxy-Connection`, `Proxy-Authenticate`, `TE`, `Trailer`, `Transfer-Encoding`, `Upgrade`.
   * `Content-Length` is there when the server said it, and only once.
   */
  readonly headers: readonly string[];
  /** Of the body that follows: 0 for an answer to HEAD, for 204 and 304; undefined = not known. */
  readonly bodyBytes: number | undefined;
}

export interface Answerer {
  /** Called once at most; 1xx are not told. */
  head(head: AnswerHead): void;
  /**
   * A piece of the body; it belongs to the callee.
   * @returns false: nothing more is read until `UpstreamCall.resume`.
   */
  data(piece: Buffer): boolean;
  /** The answer is complete, with `last` when its last piece came with the end. Trailers are dropped. */
  end(last: Buffer | undefined): void;
  /** There will be no (more) answer: what of it was passed on is incomplete and MUST NOT be made to look complete. */
  failed(failure: UpstreamFailure): void;
  /** A streamed body may go on. */
  drained(): void;
}

export interface UpgradeAnswerer extends Omit<Answerer, 'drained'> {
  /**
   * The server has switched protocols. The stream belongs to the callee, which MUST destroy it in the end; it counts as one of
   * the server's connections until then. `head.status` is 101, and its headers are those for the device, without `Connection`
   * and `Upgrade`.
   */
  opened(head: AnswerHead, stream: Duplex): void;
}

export interface UpstreamFailure {
  /** `unavailable`: no server is there, or it has not answered as it should. `busy`: too many wait for one. */
  readonly code: 'unavailable' | 'busy';
  /** For the log; never for a device. */
  readonly detail: string;
  /** The origin that failed; undefined when none was asked. */
  readonly server: string | undefined;
  /** Whether a server may have seen something of the request. */
  readonly sent: boolean;
  /** Whether `head` has been called. */
  readonly begun: boolean;
  /** When it may be worth another try; undefined: no idea. */
  readonly retryAfterMs: number | undefined;
}

export interface UpstreamsParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly count: (name: string, by?: number) => void;
  /** For tests; otherwise the machine's. */
  readonly timers?: Timers;
  readonly random?: () => number;
}
