/**
 * The columns of the policy table: the ways into the gateway, what each has to say for itself, and what a bound check
 * answers.
 */
import type { AuthenticationMethod } from '../../common/config/proxied-route.ts';
import type { Place } from './concurrency.ts';
import type { Decision } from './decision.ts';
import type { Signed } from './integrity.ts';
import type { RateBucket } from './ports.ts';

export const entries = [
  'accept',
  'connect',
  'will',
  'will-publish',
  'publish',
  'subscribe',
  'deliver',
  'request',
  'proxied',
] as const;

/**
 * accept: a TCP connection, before TLS. connect: an MQTT CONNECT after the handshake. will: a will message at CONNECT,
 * which is when its rate is charged. will-publish: the same will when it is published. subscribe: one filter.
 * deliver: one message to a subscriber, checked against today's policy. request: an HTTP request that is none of these
 * and asks the gateway itself. proxied: one that is for an upstream.
 */
export type Entry = (typeof entries)[number];

/**
 * The outcome of the per-source admission, which counts connections before TLS; undefined = there was a place. The
 * policy judges it and counts no sources itself.
 */
export interface SourceFacts {
  readonly refusal: string | undefined;
}

/**
 * How far a request reaches: what is for those in good standing, or the time, which a device also needs to come back
 * into it.
 */
export type Reach = 'service' | 'time';

/** The outcome of the handshake; the policy judges it and authenticates nobody itself. */
export interface ConnectFacts {
  readonly authentication: { readonly ok: true } | { readonly ok: false; readonly detail: string };
}

export interface MessageFacts {
  /** Borrowed until the decision is there; never kept. */
  readonly payload: Buffer;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  readonly userProperties: number;
  /** As the publisher has said it. */
  readonly contentType?: string | undefined;
  /** How the publisher has proven who it is; left out: by the certificate of its connection. */
  readonly by?: AuthenticationMethod | undefined;
  /** Undefined = it came without a signature. */
  readonly signed?: Signed | undefined;
}

/** One request to a proxied route. */
export interface ProxiedFacts {
  readonly authentication:
    | { readonly ok: true; readonly by: AuthenticationMethod }
    | { readonly ok: false; readonly detail: string };
  readonly method: string;
  /** Canonical: these bytes are what is sent on. */
  readonly path: string;
  /** As declared; `unknown`: it comes in chunks, and whoever reads it ends it at `bodyBytes` of the route. */
  readonly bodyBytes: number | 'unknown';
  /** The body as a whole, borrowed until the decision is there; undefined = it is not there, or streamed. */
  readonly payload: Buffer | undefined;
  /** Of the header field. */
  readonly contentType: string | undefined;
  /** New for each request; whoever asks leaves it when the request is over. */
  readonly place: Place;
  /** Undefined = it came without a signature. */
  readonly signed: Signed | undefined;
}

/**
 * All that does not change from message to message, resolved. MUST be dropped when the policy's generation changes;
 * a change of the subject's standing or role is seen at once.
 */
export interface Bound<M> {
  /** What `decide` takes from, for whoever says how much is left; empty without a limit. */
  readonly rates: readonly RateBucket[];
  /** A promise only when the rate of the identity has to be asked elsewhere. Never throws, never rejects. */
  decide(message: M): Decision | Promise<Decision>;
}

/**
 * For what has a body that should not be read for somebody who may not send it. `decide` is the two one after the other.
 */
export interface StagedBound<M> extends Bound<M> {
  /** The rows that need no body; charges the rates. */
  decideHead(message: M): Decision | Promise<Decision>;
  /** The rows after them. MUST be asked only once `decideHead` has allowed. */
  decideBody(message: M): Decision | Promise<Decision>;
}
