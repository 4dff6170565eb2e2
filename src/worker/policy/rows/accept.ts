/** The end of every column: whatever comes this far is allowed. A good message closes the breakers it has passed. */
import type { Cell, MessageBinding, ProxiedBinding, Row } from '../row.ts';

const message: Cell<MessageBinding, unknown> = {
  says: 'accept',
  bind: ({ policy, subject, routes }) => {
    const { breakers } = policy;
    const guarded = routes.routes.filter((route) => route.breaker !== undefined);
    if (guarded.length === 0) return undefined;
    return () => {
      if (breakers.size === 0) return undefined;
      for (const route of guarded) breakers.passed(route.name, subject.name);
      return undefined;
    };
  },
};

const proxied: Cell<ProxiedBinding, unknown> = {
  says: 'accept',
  bind: ({ policy: { breakers }, subject, route }) =>
    subject === undefined || route.document.breaker === undefined
      ? undefined
      : () => {
          breakers.passed(route.name, subject.name);
          return undefined;
        },
};

const nothing: Cell<unknown, unknown> = { says: 'accept', bind: () => undefined };

export const acceptRow: Row = {
  name: 'accept',
  codes: [],
  cells: {
    accept: nothing,
    connect: nothing,
    will: nothing,
    'will-publish': nothing,
    publish: message,
    subscribe: nothing,
    deliver: nothing,
    request: nothing,
    proxied,
  },
};
