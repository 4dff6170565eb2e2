/**
 * May this principal do this to that topic? One role's rules, never the union of two; what no rule allows is refused.
 * A forbidden topic is a constant of the binding, yet it keeps its place in the row order, so a flood of forbidden
 * messages has met the rate row first.
 */
import { deny } from '../decision.ts';
import type { Deny } from '../decision.ts';
import type { AccessVerdict } from '../access-rules.ts';
import type { Subject } from '../ports.ts';
import type { ProxiedFacts } from '../entry.ts';
import type { Cell, Check, ProxiedBinding, Row, TopicBinding } from '../row.ts';

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

const proxied: Cell<ProxiedBinding, ProxiedFacts> = {
  says: 'the role may make the request on the route',
  bind: ({ policy: { access }, subject, route }) => {
    if (subject === undefined) return undefined;
    const { identity, id } = subject;
    let role = identity.role;
    let isOpen = access.opens(role, route.document);
    return ({ method, path }) => {
      if (!route.methods.has(method)) {
        return deny('forbidden', name, `route "${route.name}" does not take ${method}`);
      }
      if (identity.role !== role) {
        role = identity.role;
        isOpen = access.opens(role, route.document);
      }
      return isOpen ? undefined : denialOf(access.request(role, id, method, path, route.document));
    };
  },
};

export const authorisationRow: Row = {
  name,
  codes: ['forbidden'],
  cells: {
    will: publish,
    'will-publish': publish,
    publish,
    proxied,
    subscribe: {
      says: 'the role may subscribe to all of the filter',
      bind: ({ policy, subject, filter }) =>
        check(subject, (role) => policy.access.subscribe(role, subject.id, filter)),
    },
    deliver: {
      says: 'the role may still read the topic',
      bind: ({ policy, subject, filter }) =>
        check(subject, (role) => policy.access.subscribe(role, subject.id, filter)),
    },
  },
};
