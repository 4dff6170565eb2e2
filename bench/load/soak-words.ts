/** What a soak and its agents say to each other: the task as an argument, then JSON lines. */

export interface AgentTask {
  readonly port: number;
  /** File with a JSON array of identities. */
  readonly manifest: string;
  readonly sessions: number;
  /** Of `sourceAddress`. */
  readonly firstSource: number;
  /** Connections to open. */
  readonly perSecond: number;
}

/** To an agent whose devices are connected. */
export interface AgentPublish {
  readonly perSecond: number;
  readonly seconds: number;
}

/** From an agent. */
export interface AgentLine {
  readonly event: 'progress' | 'connected' | 'published';
  /** Let in, since the start. */
  readonly connected: number;
  /** Never let in. */
  readonly failed: number;
  /** Let in, and gone since. */
  readonly ended: number;
  readonly sent: number;
  readonly residentBytes: number;
  /** Why sessions failed or ended, and how often. */
  readonly reasons: Readonly<Record<string, number>>;
}
