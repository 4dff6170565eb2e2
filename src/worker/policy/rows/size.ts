/** Size and form of topic, filter, payload and properties: what later rows and the broker may take for granted. */
import { filterProblem, splitLevels, topicProblem } from '../../../common/base/topic-filter.ts';
import type { LimitsDocument } from '../../../common/config/policy-document.ts';
import { deny } from '../decision.ts';
import type { Deny } from '../decision.ts';
import type { MessageFacts } from '../entry.ts';
import type { Cell, MessageBinding, Row } from '../row.ts';

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
    const { payloadBytes } = routes;
    const { userProperties } = limits;
    const tooLarge = deny('too-large', name, `the payload is larger than ${payloadBytes} bytes`);
    const tooMany = deny('too-large', name, `more than ${userProperties} user properties`);
    return (facts) => {
      if (facts.payload.length > payloadBytes) return tooLarge;
      return facts.userProperties > userProperties ? tooMany : undefined;
    };
  },
};

export const sizeRow: Row = {
  name,
  codes: ['too-large', 'malformed'],
  cells: {
    will: message,
    'will-publish': message,
    publish: message,
    subscribe: {
      says: 'filter well-formed and within limits',
      bind: ({ policy, filter }) => {
        const denial = textDenial('filter', filter, filterProblem(filter), policy.document.limits);
        return denial === undefined ? undefined : () => denial;
      },
    },
  },
};
