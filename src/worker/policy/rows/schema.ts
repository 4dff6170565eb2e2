/** The payload against the schema of every route that matches. The most expensive check, so it comes last. */
import { deny } from '../decision.ts';
import type { MessageFacts } from '../entry.ts';
import type { Cell, MessageBinding, Row } from '../row.ts';

const name = 'schema';

const message: Cell<MessageBinding, MessageFacts> = {
  says: 'payload fits the schema of each route',
  bind: ({ policy, subject, routes }) => {
    const { breakers } = policy;
    const checked = routes.routes.filter((route) => route.payload !== undefined);
    if (checked.length === 0) return undefined;
    return ({ payload }) => {
      for (const route of checked) {
        const problem = route.payload?.(payload);
        if (problem === undefined) continue;
        if (route.breaker !== undefined) breakers.failed(route.name, subject.name, route.breaker);
        return deny('schema', name, `route "${route.name}": ${problem}`);
      }
      return undefined;
    };
  },
};

export const schemaRow: Row = {
  name,
  codes: ['schema'],
  cells: { will: message, 'will-publish': message, publish: message },
};
