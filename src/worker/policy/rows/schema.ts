/** The payload against the schema of every route that matches. The most expensive check, so it comes last. */
import { readingProblem } from '../body-type.ts';
import { deny } from '../decision.ts';
import type { MessageFacts, ProxiedFacts } from '../entry.ts';
import type { Cell, MessageBinding, ProxiedBinding, Row } from '../row.ts';

const name = 'schema';

const message: Cell<MessageBinding, MessageFacts> = {
  says: 'payload fits the schema of each route',
  bind: ({ policy, subject, routes }) => {
    const { breakers } = policy;
    const checked = routes.routes.filter((route) => route.payload !== undefined);
    if (checked.length === 0) return undefined;
    return ({ payload, contentType }) => {
      for (const route of checked) {
        const problem = route.payload?.(payload, contentType);
        if (problem === undefined) continue;
        if (route.breaker !== undefined) breakers.failed(route.name, subject.name, route.breaker);
        return deny('schema', name, `route "${route.name}": ${problem}`);
      }
      return undefined;
    };
  },
};

/** Whose requests have a body as a rule: one of these without is refused as any other that does not fit. */
const withBody: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);
const nothing = Buffer.alloc(0);

const proxied: Cell<ProxiedBinding, ProxiedFacts> = {
  says: 'body fits the schema of the route',
  bind: ({ policy: { breakers }, subject, route }) => {
    const check = route.payload;
    const { breaker } = route.document;
    const isListed = route.contentTypes.size > 0;
    if (check === undefined) return undefined;
    return ({
      method,
      bodyBytes,
      contentType,
      payload = bodyBytes === 0 ? nothing : undefined,
    }) => {
      if (bodyBytes === 0 && !withBody.has(method)) return undefined;
      const problem =
        payload === undefined
          ? 'the body was not had as a whole'
          : (readingProblem(contentType, isListed) ?? check(payload, contentType));
      if (problem === undefined) return undefined;
      if (breaker !== undefined && subject !== undefined) {
        breakers.failed(route.name, subject.name, breaker);
      }
      return deny('schema', name, `route "${route.name}": ${problem}`);
    };
  },
};

export const schemaRow: Row = {
  name,
  codes: ['schema'],
  looksAtBody: true,
  cells: { will: message, 'will-publish': message, publish: message, proxied },
};
