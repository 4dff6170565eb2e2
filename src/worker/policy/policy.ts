/**
 * The compiled policy: what every entry point asks, and nothing else. See `compile.ts` for how one is made.
 */
import type { PolicyDocument } from '../../common/config/policy-document.ts';
import type { Bound, ConnectFacts, Entry, MessageFacts, SourceFacts } from './entry.ts';
import type { Subject } from './ports.ts';

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
  /** `subject` is the subscriber. */
  bind(entry: 'deliver', subject: Subject, topic: string): Bound<void>;
  /** Authorisation alone, charging nothing: whether today's rules grant what a live session already holds. */
  permits(entry: 'publish' | 'subscribe', subject: Subject, resource: string): boolean;
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
