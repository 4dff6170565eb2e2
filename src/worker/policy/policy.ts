/**
 * The compiled policy: what every entry point asks, and nothing else. See `compile.ts` for how one is made.
 */
import type { PolicyDocument } from '../../common/config/policy-document.ts';
import type { AuthenticationMethod, IntegrityDocument } from '../../common/config/proxied-route.ts';
import type {
  Bound,
  ConnectFacts,
  Entry,
  MessageFacts,
  ProxiedFacts,
  Reach,
  SourceFacts,
  StagedBound,
} from './entry.ts';
import type { Subject } from './ports.ts';
import type { CompiledProxied } from './proxied-routes.ts';

export interface Policy {
  readonly document: PolicyDocument;
  /** Grows with every policy; a bound check of another generation MUST be dropped. */
  readonly generation: number;
  bind(entry: 'accept'): Bound<SourceFacts>;
  /** Without a subject the answer is always `unauthenticated`. */
  bind(entry: 'connect', subject: Subject | undefined): Bound<ConnectFacts>;
  bind(
    entry: 'publish' | 'will' | 'will-publish',
    subject: Subject,
    topic: string,
  ): Bound<MessageFacts>;
  /** `filter` without its `$share/<group>/` part. */
  bind(entry: 'subscribe', subject: Subject, filter: string): Bound<void>;
  /** `subject` is the subscriber; a filter stands for all topics that it matches. */
  bind(entry: 'deliver', subject: Subject, topicOrFilter: string): Bound<void>;
  /** As `connect`, of one request. */
  bind(entry: 'request', subject: Subject | undefined, reach: Reach): Bound<ConnectFacts>;
  /** As `connect`, of one request to a route of this policy. */
  bind(
    entry: 'proxied',
    subject: Subject | undefined,
    route: CompiledProxied,
  ): StagedBound<ProxiedFacts>;
  /**
   * The route of a request; undefined = nothing is there. `path` MUST be canonical; `id` is the principal's, undefined =
   * it has none yet.
   */
  proxied(method: string, path: string, id: string | undefined): CompiledProxied | undefined;
  /** What the route of a path takes, for `Allow`; empty = there is none. */
  proxiedMethods(path: string, id: string | undefined): readonly string[];
  /**
   * Whether messages under a filter are open to whoever has proven in this way who it is. By certificate always; else every
   * route that some of them match has to take it, and one of those has to match all of them. The role is another question.
   */
  takes(by: AuthenticationMethod, filter: string): boolean;
  /**
   * What the routes that some messages under a filter match ask of a signature, all of them together; undefined = none says
   * anything of it. What of a signature is judged elsewhere than in the row `integrity` is judged by this.
   */
  integrity(filter: string): IntegrityDocument | undefined;
  /** Authorisation alone, charging nothing: whether today's rules grant what a live session already holds. */
  permits(entry: 'publish' | 'subscribe', subject: Subject, resource: string): boolean;
  /** The same of a request to a proxied route; `path` MUST be canonical. */
  permitsRequest(subject: Subject, method: string, path: string): boolean;
  /** The table as data, in the order in which the rows are asked. */
  table(): readonly TableRow[];
}

export interface TableRow {
  readonly row: string;
  /** The codes with which this row denies. */
  readonly codes: readonly string[];
  /** What the row checks at each entry point, in a few words; undefined = not asked there. */
  readonly cells: Readonly<Record<Entry, string | undefined>>;
}
