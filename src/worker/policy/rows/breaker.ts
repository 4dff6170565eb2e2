/**
 * Circuit breaker: an identity whose messages keep failing the payload checks of a route is refused there for a
 * while before its payloads are read. It is told `rate`: the fault is the device's own, `unavailable` would blame the
 * backend, and MQTT has no word for that.
 */
import { deny, denyUntil } from '../decision.ts';
import type { Deny } from '../decision.ts';
import type { Cell, MessageBinding, ProxiedBinding, Row } from '../row.ts';

const name = 'breaker';

const message: Cell<MessageBinding, unknown> = {
  says: 'closed for the identity on each route',
  bind: ({ policy, subject, routes }) => {
    const { breakers } = policy;
    const guarded = routes.routes.filter((route) => route.breaker !== undefined);
    if (guarded.length === 0) return undefined;
    const denials = guarded.map((route) => [route.name, openOn(route.name)] as const);
    return () => {
      if (breakers.size === 0) return undefined;
      for (const [route, denial] of denials) {
        const openForMs = breakers.openForMs(route, subject.name);
        if (openForMs > 0) return denyUntil(denial, openForMs);
      }
      return undefined;
    };
  },
};

const proxied: Cell<ProxiedBinding, unknown> = {
  says: 'closed for the identity on the route',
  bind: ({ policy: { breakers }, subject, route }) => {
    if (subject === undefined || route.document.breaker === undefined) return undefined;
    const denial = openOn(route.name);
    return () => {
      const openForMs = breakers.openForMs(route.name, subject.name);
      return openForMs > 0 ? denyUntil(denial, openForMs) : undefined;
    };
  },
};

function openOn(route: string): Deny {
  return deny('rate', name, `open after too many refused payloads on route "${route}"`);
}

export const breakerRow: Row = {
  name,
  codes: ['rate'],
  cells: { will: message, publish: message, proxied },
};
