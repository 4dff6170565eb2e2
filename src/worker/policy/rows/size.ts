/** Size and form of topic, filter, payload and properties: what later rows and the broker may take for granted. */
import { filterProblem, splitLevels, topicProblem } from '../../../common/base/topic-filter.ts';
import type { LimitsDocument } from '../../../common/config/policy-document.ts';
import { mediaTypeOf } from '../body-type.ts';
import { deny } from '../decision.ts';
import type { Deny } from '../decision.ts';
import type { MessageFacts, ProxiedFacts } from '../entry.ts';
import type { MatchedRoutes } from '../matched-routes.ts';
import type { CompiledProxied } from '../proxied-routes.ts';
import type { Cell, Check, MessageBinding, ProxiedBinding, Row } from '../row.ts';

const name = 'size';

function textDenial(
  what: 'topic' | 'filter',
  text: string,
  problem: string | undefined,
  limits: LimitsDocument,
): Deny | undefined {
  if (Buffer.byteLength(text) > limits.topicBytes) {
    return deny('too-large', name, `the ${what} is longer than ${limits.topicBytes} bytes`);
  }
  if (splitLevels(text).length > limits.topicLevels) {
    return deny('too-large', name, `the ${what} has more than ${limits.topicLevels} levels`);
  }
  return problem === undefined ? undefined : deny('malformed', name, problem);
}

const message: Cell<MessageBinding, MessageFacts> = {
  says: 'topic well-formed; topic, payload, user properties within limits',
  bind: ({ policy, topic, routes }) => {
    const { limits } = policy.document;
    const constant = textDenial('topic', topic, topicProblem(topic), limits);
    if (constant !== undefined) return () => constant;
    let check = shared.get(routes);
    if (check === undefined) {
      check = messageCheck(routes.payloadBytes, limits.userProperties);
      shared.set(routes, check);
    }
    return check;
  },
};

/** One for all devices of a route: `MatchedRoutes` are one policy's own. */
const shared = new WeakMap<MatchedRoutes, Check<MessageFacts>>();

function messageCheck(payloadBytes: number, userProperties: number): Check<MessageFacts> {
  const tooLarge = deny('too-large', name, `the payload is larger than ${payloadBytes} bytes`);
  const tooMany = deny('too-large', name, `more than ${userProperties} user properties`);
  return (facts) => {
    if (facts.payload.length > payloadBytes) return tooLarge;
    return facts.userProperties > userProperties ? tooMany : undefined;
  };
}

const proxied: Cell<ProxiedBinding, ProxiedFacts> = {
  says: 'body within the limit of the route, of a type that it takes',
  bind: ({ route }) => proxiedCheck(route),
};

function proxiedCheck({ document, contentTypes }: CompiledProxied): Check<ProxiedFacts> {
  const { bodyBytes: most } = document;
  const tooLarge = deny('too-large', name, `the body is larger than ${most} bytes`);
  const wrongType = deny('malformed', name, 'the route does not take a body of that content type');
  return ({ bodyBytes, payload, contentType }) => {
    if (bodyBytes !== 'unknown' && bodyBytes > most) return tooLarge;
    if (payload !== undefined && payload.length > most) return tooLarge;
    if (contentTypes.size === 0 || bodyBytes === 0) return undefined;
    return contentTypes.has(mediaTypeOf(contentType)) ? undefined : wrongType;
  };
}

export const sizeRow: Row = {
  name,
  codes: ['too-large', 'malformed'],
  cells: {
    will: message,
    'will-publish': message,
    publish: message,
    proxied,
    subscribe: {
      says: 'filter well-formed and within limits',
      bind: ({ policy, filter }) => {
        const denial = textDenial('filter', filter, filterProblem(filter), policy.document.limits);
        return denial === undefined ? undefined : () => denial;
      },
    },
  },
};
