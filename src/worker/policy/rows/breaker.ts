/**
 * Circuit breaker: an identity whose messages keep failing the payload checks of a route is refused there for a
 * while before its payloads are read. It is told `rate`: the fault is the device's own, `unavailable` would blame the
 * backend, and MQTT has no word for that.
 */
import { deny } from '../decision.ts';
import type { Cell, MessageBinding, Row } from '../row.ts';

const name = 'breaker';

const message: Cell<MessageBinding, unknown> = {
  says: 'closed for the identity on each route',
  bind: ({ policy, subject, routes }) => {
    const { breakers } = policy;
    const guarded = routes.routes.filter((route) => route.breaker !== undefined);
    if (guarded.length === 0) return undefined;
    const denials = guarded.map(
      (route) =>
        [
          route.name,
          deny('rate', name, `open after too many refused payloads on route "${route.name}"`),
        ] as const,
    );
    return () => {
      for (const [route, denial] of denials) {
        if (breakers.isOpen(route, subject.name)) return denial;
      }
      return undefined;
    };
  },
};

export const breakerRow: Row = {
  name,
  codes: ['rate'],
  cells: { will: message, publish: message },
};
