/**
 * What the processes say to each other. Every message is a JSON object with a `type`; the unions are by sender and
 * receiver. What a worker sends is untrusted: control and the supervisor check each field before they use it.
 */
import type { ConfigBundle } from '../config/config-bundle.ts';
import type { Snapshot, SnapshotChange } from './snapshot.ts';

/** Keys that workers get, derived by control from the master key, one per purpose; base64, 32 bytes each. */
export interface WorkerKeys {
  /** Encrypts payloads at rest. */
  readonly storage: string;
  /** From which the TLS ticket keys are derived, with a hash of the trust anchors. */
  readonly tickets: string;
  /** Authenticates workers to each other. */
  readonly peers: string;
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
  | { readonly type: 'drain'; readonly reason: 'shutdown' | 'upgrade' };

export type WorkerToSupervisor =
  | { readonly type: 'pong'; readonly n: number }
  | {
      readonly type: 'listening';
      readonly listener: string;
      readonly host: string;
      readonly port: number;
    }
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
  | { readonly type: 'reply'; readonly id: number; readonly ok: boolean };

export type WorkerToControl =
  | { readonly type: 'ack'; readonly epoch: number; readonly seq: number; readonly error?: string }
  | { readonly type: 'want-snapshot' }
  | { readonly type: 'metrics'; readonly metrics: WorkerMetrics }
  /** A certificate under a configured anchor names an identity that the snapshot does not know. */
  | {
      readonly type: 'register';
      readonly id: number;
      readonly anchor: string;
      readonly certificate: string;
    };

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
