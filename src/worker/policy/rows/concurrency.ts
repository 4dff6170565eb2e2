/**
 * Requests of one identity that are under way at once on a route: what is slow must not be had many times over. It is
 * told `rate`, as of everything that the device itself could do less of.
 */
import { concurrencyKey } from '../concurrency.ts';
import { deny } from '../decision.ts';
import type { ProxiedFacts } from '../entry.ts';
import type { Cell, ProxiedBinding, Row } from '../row.ts';

const name = 'concurrency';

const proxied: Cell<ProxiedBinding, ProxiedFacts> = {
  says: 'requests of the identity under way on the route',
  bind: ({ policy, subject, route }) => {
    if (subject === undefined) return undefined;
    const { concurrency } = policy;
    const most = route.document.concurrent;
    const key = concurrencyKey(route.name, subject.name);
    const denied = deny(
      'rate',
      name,
      `more than ${most} requests at once on route "${route.name}"`,
    );
    return ({ place }) => (concurrency.enter(place, key, most) ? undefined : denied);
  },
};

export const concurrencyRow: Row = { name, codes: ['rate'], cells: { proxied } };
