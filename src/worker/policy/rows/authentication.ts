/**
 * Who is it, and may it be proven that way here? Certificates, signatures and tokens have been verified before; here the
 * outcome is judged, first of all, so that nothing is charged to an identity that has not been proven.
 */
import type { AuthenticationMethod } from '../../../common/config/proxied-route.ts';
import { deny } from '../decision.ts';
import type { Deny } from '../decision.ts';
import type { ConnectFacts, MessageFacts, ProxiedFacts } from '../entry.ts';
import type { MatchedRoutes } from '../matched-routes.ts';
import type { Cell, Check, ConnectBinding, MessageBinding, ProxiedBinding, Row } from '../row.ts';

const name = 'authentication';
const nobody = deny('unauthenticated', name, 'no principal');

const cell: Cell<ConnectBinding, ConnectFacts> = {
  says: 'verified proof names a known principal',
  bind:
    ({ subject }) =>
    ({ authentication }) => {
      if (!authentication.ok) return deny('unauthenticated', name, authentication.detail);
      return subject === undefined ? nobody : undefined;
    },
};

const proxied: Cell<ProxiedBinding, ProxiedFacts> = {
  says: 'verified proof of a kind that the route takes names a known principal',
  bind:
    ({ subject, route }) =>
    ({ authentication }) => {
      if (!authentication.ok) return deny('unauthenticated', name, authentication.detail);
      if (subject === undefined) return nobody;
      const { by } = authentication;
      return route.authenticate.has(by) ? undefined : notBy(by, `route "${route.name}"`);
    },
};

const message: Cell<MessageBinding, MessageFacts> = {
  says: 'verified proof of a kind that each route takes',
  bind: ({ routes }) => {
    let check = shared.get(routes);
    if (check === undefined) {
      const { authenticate } = routes;
      check = ({ by = 'certificate' }) =>
        authenticate.has(by) ? undefined : notBy(by, 'what holds for the topic');
      shared.set(routes, check);
    }
    return check;
  },
};

/** One for all devices of a route: `MatchedRoutes` are one policy's own. */
const shared = new WeakMap<MatchedRoutes, Check<MessageFacts>>();

function notBy(by: AuthenticationMethod, who: string): Deny {
  return deny('unauthenticated', name, `${who} takes no ${by}`);
}

export const authenticationRow: Row = {
  name,
  codes: ['unauthenticated'],
  cells: { connect: cell, will: message, publish: message, request: cell, proxied },
};
