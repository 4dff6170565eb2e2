/**
 * The signature over a message or a request, its time, and that it comes for the first time: for routes that ask for one,
 * and for everybody whose signature is all that says who he is. One that came to a route that asks for none is not looked
 * at, as it promises nothing there.
 */
import type {
  AuthenticationMethod,
  IntegrityDocument,
} from '../../../common/config/proxied-route.ts';
import { deny } from '../decision.ts';
import type { Deny } from '../decision.ts';
import type { MessageFacts, ProxiedFacts } from '../entry.ts';
import type { IntegrityVerdict, Signed } from '../integrity.ts';
import type { Cell, MessageBinding, ProxiedBinding, Row } from '../row.ts';

const name = 'integrity';
const noForm = deny('integrity', name, 'the routes of the topic agree on no form of signature');
const missing = deny('integrity', name, 'there is no signature');

const message: Cell<MessageBinding, MessageFacts> = {
  says: 'signature, where a route asks for it',
  bind: ({ policy: { breakers }, subject, routes }) => {
    const { integrity } = routes;
    if (integrity === undefined) return undefined;
    const guarded = routes.routes.filter((route) => route.breaker !== undefined);
    const failed = (): void => {
      for (const { name: route, breaker } of guarded) {
        if (breaker !== undefined) breakers.failed(route, subject.name, breaker);
      }
    };
    return ({ by, signed }) => judge(integrity, by, signed, failed);
  },
};

const proxied: Cell<ProxiedBinding, ProxiedFacts> = {
  says: 'signature, where the route asks for it',
  bind: ({ policy: { breakers }, subject, route }) => {
    const { integrity, breaker } = route.document;
    if (integrity === undefined) return undefined;
    const failed = (): void => {
      if (breaker !== undefined && subject !== undefined) {
        breakers.failed(route.name, subject.name, breaker);
      }
    };
    return ({ authentication, signed }) =>
      judge(integrity, authentication.ok ? authentication.by : undefined, signed, failed);
  },
};

function judge(
  rules: IntegrityDocument,
  by: AuthenticationMethod | undefined,
  signed: Signed | undefined,
  failed: () => void,
): Deny | undefined | Promise<Deny | undefined> {
  if (signed === undefined) {
    if (!rules.required && by !== 'signature') return undefined;
    failed();
    return missing;
  }
  // Several routes of one message that agree on no form: nothing could satisfy all of them.
  if (rules.accept.length === 0) return noForm;
  const verdict = signed.verify(rules);
  return verdict instanceof Promise
    ? verdict.then((settled) => denialOf(settled, failed))
    : denialOf(verdict, failed);
}

function denialOf(verdict: IntegrityVerdict, failed: () => void): Deny | undefined {
  if (verdict.ok) return undefined;
  const { code = 'integrity', detail } = verdict;
  // The others are no fault of what was sent.
  if (code === 'integrity') failed();
  return deny(code, name, detail);
}

export const integrityRow: Row = {
  name,
  codes: ['integrity', 'rate', 'unavailable'],
  looksAtBody: true,
  cells: { will: message, 'will-publish': message, publish: message, proxied },
};
