/**
 * The columns of the policy table: the ways into the gateway, what each has to say for itself, and what a bound check
 * answers.
 */
import type { Decision } from './decision.ts';

export const entries = [
  'accept',
  'connect',
  'will',
  'will-publish',
  'publish',
  'subscribe',
  'deliver',
] as const;

/**
 * accept: a TCP connection, before TLS. connect: an MQTT CONNECT after the handshake. will: a will message at CONNECT,
 * which is when its rate is charged. will-publish: the same will when it is published. subscribe: one filter.
 * deliver: one message to a subscriber, checked against today's policy.
 */
export type Entry = (typeof entries)[number];

/**
 * The outcome of the per-source admission, which counts connections before TLS; undefined = there was a place. The
 * policy judges it and counts no sources itself.
 */
export interface SourceFacts {
  readonly refusal: string | undefined;
}

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
}

/**
 * All that does not change from message to message, resolved. MUST be dropped when the policy's generation changes;
 * a change of the subject's standing or role is seen at once.
 */
export interface Bound<M> {
  /** A promise only when the rate of the identity has to be asked elsewhere. Never throws, never rejects. */
  decide(message: M): Decision | Promise<Decision>;
}
