/**
 * May this principal do this to that topic? One role's rules, never the union of two; what no rule allows is refused.
 * A forbidden topic is a constant of the binding, yet it keeps its place in the row order, so a flood of forbidden
 * messages has met the rate row first.
 */
import { deny } from '../decision.ts';
import type { Deny } from '../decision.ts';
import type { AccessVerdict } from '../access-rules.ts';
import type { Subject } from '../ports.ts';
import type { Cell, Check, Row, TopicBinding } from '../row.ts';

const name = 'authorisation';

/** The role is part of the live record: when control changes it, the next decision goes by the new one. */
function check(subject: Subject, judge: (role: string) => AccessVerdict): Check<unknown> {
  const { identity } = subject;
  let role = identity.role;
  let denial = denialOf(judge(role));
  return () => {
    if (identity.role !== role) {
      role = identity.role;
      denial = denialOf(judge(role));
    }
    return denial;
  };
}

function denialOf(verdict: AccessVerdict): Deny | undefined {
  return verdict.allowed ? undefined : deny('forbidden', name, verdict.because);
}

const publish: Cell<TopicBinding, unknown> = {
  says: 'the role may publish to the topic',
  bind: ({ policy, subject, topic }) =>
    check(subject, (role) => policy.access.publish(role, subject.id, topic)),
};

export const authorisationRow: Row = {
  name,
  codes: ['forbidden'],
  cells: {
    will: publish,
    'will-publish': publish,
    publish,
    subscribe: {
      says: 'the role may subscribe to all of the filter',
      bind: ({ policy, subject, filter }) =>
        check(subject, (role) => policy.access.subscribe(role, subject.id, filter)),
    },
    deliver: {
      says: 'the role may still read the topic',
      bind: ({ policy, subject, topic }) =>
        check(subject, (role) => policy.access.read(role, subject.id, topic)),
    },
  },
};
