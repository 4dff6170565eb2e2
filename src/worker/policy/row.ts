/** The shape of a row of the policy table: one check, with a cell for every entry point that asks it. */
import type { DenyCode } from '../../common/base/errors.ts';
import type { PolicyDocument } from '../../common/config/policy-document.ts';
import type { AccessRules } from './access-rules.ts';
import type { Breakers } from './breakers.ts';
import type { Concurrency } from './concurrency.ts';
import type { Deny } from './decision.ts';
import type {
  ConnectFacts,
  Entry,
  MessageFacts,
  ProxiedFacts,
  Reach,
  SourceFacts,
} from './entry.ts';
import type { MatchedRoutes } from './matched-routes.ts';
import type { Subject } from './ports.ts';
import type { CompiledProxied } from './proxied-routes.ts';

/** Undefined = go on to the next row. A promise only where the answer has to be asked elsewhere. */
export type Check<M> = (message: M) => Deny | undefined | Promise<Deny | undefined>;

export interface Cell<B, M> {
  /** What it checks, for people; a few words. */
  readonly says: string;
  /** Resolves all that does not change per message. Undefined = nothing to check for this binding. */
  bind(binding: B): Check<M> | undefined;
}

/** What is compiled once per policy. */
export interface Compiled {
  readonly document: PolicyDocument;
  readonly access: AccessRules;
  readonly breakers: Breakers;
  readonly concurrency: Concurrency;
}

export interface SourceBinding {
  readonly policy: Compiled;
}

export interface ConnectBinding {
  readonly policy: Compiled;
  readonly subject: Subject | undefined;
}

export interface RequestBinding extends ConnectBinding {
  readonly reach: Reach;
}

export interface ProxiedBinding extends ConnectBinding {
  readonly route: CompiledProxied;
}

export interface TopicBinding {
  readonly policy: Compiled;
  readonly subject: Subject;
  readonly topic: string;
}

export interface MessageBinding extends TopicBinding {
  readonly routes: MatchedRoutes;
}

export interface FilterBinding {
  readonly policy: Compiled;
  readonly subject: Subject;
  readonly filter: string;
}

/** What each entry point binds, and what it has to say per message. */
export interface EntryTypes {
  accept: { binding: SourceBinding; facts: SourceFacts };
  connect: { binding: ConnectBinding; facts: ConnectFacts };
  will: { binding: MessageBinding; facts: MessageFacts };
  'will-publish': { binding: MessageBinding; facts: MessageFacts };
  publish: { binding: MessageBinding; facts: MessageFacts };
  subscribe: { binding: FilterBinding; facts: void };
  deliver: { binding: FilterBinding; facts: void };
  request: { binding: RequestBinding; facts: ConnectFacts };
  proxied: { binding: ProxiedBinding; facts: ProxiedFacts };
}

export type Cells = {
  readonly [E in Entry]?: Cell<EntryTypes[E]['binding'], EntryTypes[E]['facts']>;
};

export interface Row {
  readonly name: string;
  readonly codes: readonly DenyCode[];
  /** It needs the whole of a body, and so may those after it. */
  readonly looksAtBody?: true;
  readonly cells: Cells;
}
