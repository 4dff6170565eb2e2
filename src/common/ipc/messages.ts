/**
 * What the processes say to each other. Every message is a JSON object with a `type`; the unions are by sender and
 * receiver. What a worker sends is untrusted: control and the supervisor check each field before they use it.
 */
import type { ErrorCode } from '../base/errors.ts';
import type { PrincipalName } from '../base/principal.ts';
import type { TicketState } from '../base/ticket-chain.ts';
import type { ConfigBundle } from '../config/config-bundle.ts';
import type { ControlCall } from './control-calls.ts';
import type { Snapshot, SnapshotChange } from './snapshot.ts';

/** Keys that workers get, one per purpose, most derived by control from the master key; base64, 32 bytes each. */
export interface WorkerKeys {
  /** Encrypts payloads at rest. */
  readonly storage: string;
  /** From which the TLS ticket keys are derived, with a hash of the trust anchors. The supervisor moves it on in time. */
  readonly tickets: TicketState;
  /** Authenticates workers to each other. */
  readonly peers: string;
  /** From which the keys of devices that sign by HMAC are derived. */
  readonly integrity: string;
}

export interface Member {
  readonly slot: number;
  /** Advances with each process that takes the slot. */
  readonly generation: number;
  readonly pid: number;
}

export interface WorkerWelcome {
  readonly type: 'welcome';
  readonly slot: number;
  readonly generation: number;
  readonly keys: WorkerKeys;
  /** Ports that are already taken by the group: listener name → port. */
  readonly ports: Readonly<Record<string, number>>;
  readonly privileges: Privileges | undefined;
}

/** To whom a child that was started as root drops its privileges, once it has opened its files. */
export interface Privileges {
  readonly uid: number;
  readonly gid: number;
}

export type SupervisorToWorker =
  | WorkerWelcome
  /** `change` counts these announcements: every worker hears the same ones, under the same numbers. */
  | { readonly type: 'members'; readonly members: readonly Member[]; readonly change: number }
  | { readonly type: 'ping'; readonly n: number }
  /** Another worker opens the store, the `opening`-th: to be answered when nothing is written to it, until `go-on`. */
  | { readonly type: 'hold'; readonly opening: number }
  | { readonly type: 'go-on' }
  | { readonly type: 'drain'; readonly reason: 'shutdown' | 'upgrade' };

export type WorkerToSupervisor =
  | { readonly type: 'pong'; readonly n: number }
  | {
      readonly type: 'listening';
      readonly listener: string;
      readonly host: string;
      readonly port: number;
    }
  /** It is welcomed, and opens the store, when nobody else writes to that. */
  | { readonly type: 'up' }
  | { readonly type: 'held'; readonly opening: number }
  /** Its peers can reach it: it may become a member. It listens only once it is one. */
  | { readonly type: 'joined' }
  | { readonly type: 'ready' }
  | { readonly type: 'drained' }
  | { readonly type: 'failed'; readonly message: string };

export type ControlToWorker =
  | { readonly type: 'snapshot'; readonly issuedAt: number; readonly snapshot: Snapshot }
  | {
      readonly type: 'delta';
      readonly issuedAt: number;
      readonly changes: readonly SnapshotChange[];
    }
  /** Sent every few seconds: what the worker holds is still current. Carries the last seq. */
  | { readonly type: 'current'; readonly issuedAt: number }
  | { readonly type: 'reply'; readonly id: number; readonly ok: boolean }
  /** What control says to the `call` of the same id. */
  | { readonly type: 'called'; readonly id: number; readonly ok: true; readonly value: unknown }
  | {
      readonly type: 'called';
      readonly id: number;
      readonly ok: false;
      readonly code: ErrorCode;
      readonly message: string;
    }
  /** What an operator asks of the workers; any one of them can do it. Answered by `answer` of the same id. */
  | { readonly type: 'ask'; readonly id: number; readonly ask: WorkerAsk };

export type WorkerAsk =
  /** A command to a device: stored in its mailbox before it is answered with `{ id }`. */
  | {
      readonly what: 'send-command';
      readonly device: string;
      /** The levels after `devices/<id>/commands/`. */
      readonly name: string;
      /** base64. */
      readonly payload: string;
      readonly contentType: string | undefined;
      /** The operator, as publisher of the message. */
      readonly from: PrincipalName;
    }
  /** Answered with `SpoolState[]`. */
  | { readonly what: 'spools' }
  /** A page of a spool's dead letters, oldest first: answered with `DeadLetter[]`. */
  | {
      readonly what: 'dead-letters';
      readonly spool: string;
      readonly after: string;
      readonly limit: number;
    }
  /** Puts dead letters back into the spool, or drops them: answered with `{ messages }`. */
  | {
      readonly what: 'retry-dead-letters' | 'discard-dead-letters';
      readonly spool: string;
      /** Undefined = all of them. */
      readonly ids: readonly string[] | undefined;
    };

/** One spool as a worker sees it; what waits is the same for all of them. */
export interface SpoolState {
  readonly spool: string;
  readonly waiting: number;
  readonly bytes: number;
  readonly deadLetters: number;
}

export interface DeadLetter {
  /** The event's `ce-id`. */
  readonly id: string;
  readonly publisher: PrincipalName;
  readonly topic: string;
  /** Milliseconds, wall clock. */
  readonly acceptedAt: number;
  readonly refusedAt: number;
  /** What the backend answered, a few words. */
  readonly reason: string;
  readonly bytes: number;
}

export type WorkerToControl =
  | { readonly type: 'ack'; readonly epoch: number; readonly seq: number; readonly error?: string }
  | { readonly type: 'want-snapshot' }
  | { readonly type: 'metrics'; readonly metrics: WorkerMetrics }
  | { readonly type: 'answer'; readonly id: number; readonly ok: true; readonly value: unknown }
  /** `code` is one of the error codes; anything else counts as `internal`. */
  | {
      readonly type: 'answer';
      readonly id: number;
      readonly ok: false;
      readonly code: string;
      readonly message: string;
    }
  /** Answered with `called` of the same id. */
  | { readonly type: 'call'; readonly id: number; readonly call: ControlCall }
  /** A device was used from two addresses in turn: where it is now, and where it was before. */
  | {
      readonly type: 'clone';
      readonly principal: PrincipalName;
      readonly addresses: readonly CloneAddress[];
    }
  /** A certificate under a configured anchor names an identity that the snapshot does not know. */
  | {
      readonly type: 'register';
      readonly id: number;
      readonly anchor: string;
      readonly certificate: string;
    };

export interface CloneAddress {
  readonly address: string;
  /** Milliseconds, wall clock. */
  readonly at: number;
}

/** What keeps the clock of this machine says of it. */
export interface ClockReading {
  readonly synchronized: boolean;
  /** How far the clock is ahead of its time servers; negative = behind; undefined = not known yet. */
  readonly aheadSeconds: number | undefined;
}

export interface WorkerMetrics {
  /** Metric name with labels in Prometheus text form → monotonic count since the worker started. */
  readonly counters: Readonly<Record<string, number>>;
  readonly gauges: Readonly<Record<string, number>>;
  /** Principal → last time seen, milliseconds; only those seen since the last report. */
  readonly seen: Readonly<Record<string, number>>;
}

export type SupervisorToControl =
  | {
      readonly type: 'welcome';
      readonly bundle: ConfigBundle;
      readonly startedAt: number;
      readonly version: string;
      /** Ports that this run already uses: listener name → port. */
      readonly ports: Readonly<Record<string, number>>;
      /** Workers that live already: a control that replaces another must not think that there are none. */
      readonly members: readonly Member[];
      /** Nobody has been shown the one-time operator enrolment of this data directory in this run. */
      readonly announce: boolean;
      /** `--workers`, which wins over the configuration. */
      readonly workersOverride: number | undefined;
      readonly privileges: Privileges | undefined;
    }
  | { readonly type: 'members'; readonly members: readonly Member[] }
  | {
      readonly type: 'listening';
      readonly listener: string;
      readonly host: string;
      readonly port: number;
    }
  | { readonly type: 'worker-gone'; readonly slot: number; readonly generation: number }
  | { readonly type: 'ping'; readonly n: number }
  /** Undefined: nobody on this machine knows. */
  | { readonly type: 'clock'; readonly reading: ClockReading | undefined }
  /** The operator enrolment has been shown to whoever started the gateway. */
  | { readonly type: 'announced' }
  /** The deltas since the last snapshot outgrew it: broadcast a fresh one. */
  | { readonly type: 'want-snapshot' }
  | {
      readonly type: 'bundle';
      readonly id: number;
      readonly bundle?: ConfigBundle;
      readonly error?: string;
    }
  | { readonly type: 'done'; readonly id: number; readonly error?: string }
  | { readonly type: 'drain' };

export type ControlToSupervisor =
  | { readonly type: 'pong'; readonly n: number }
  /** Control can serve: keys for the workers, how many to run. */
  | {
      readonly type: 'ready';
      readonly keys: WorkerKeys;
      readonly workers: number;
      readonly drainMs: number;
      /** Token of the one-time operator enrolment, on the first start of a data directory. */
      readonly operatorToken: string | undefined;
    }
  | {
      readonly type: 'listening';
      readonly listener: string;
      readonly host: string;
      readonly port: number;
    }
  | { readonly type: 'kill-worker'; readonly slot: number; readonly generation: number }
  | { readonly type: 'read-bundle'; readonly id: number }
  /** The bundle of this id is in force: the next control starts with it. */
  | { readonly type: 'applied'; readonly id: number }
  | { readonly type: 'replace-processes'; readonly id: number }
  | { readonly type: 'drained' }
  | { readonly type: 'failed'; readonly message: string };
