/**
 * Topics and filters: two filters and a topic, one a line. What the codec, the access rules and the topic tree think of
 * them, against a matcher written anew from MQTT 5 §4.7 that knows nothing of levels in lists or tries.
 */
import assert from 'node:assert/strict';
import {
  covers,
  filterProblem,
  matches,
  overlaps,
  topicProblem,
} from '../../../src/common/base/topic-filter.ts';
import {
  countLevels,
  isShared,
  isValidTopicFilter,
  isValidTopicName,
  parseShared,
} from '../../../src/common/codec/mqtt/topics.ts';
import { TopicTree } from '../../../src/worker/broker/topic-tree.ts';
import { AccessRules } from '../../../src/worker/policy/access-rules.ts';
import type { FuzzTarget } from '../fuzz.ts';

/** Character by character from the left; `#` and `+` are the only choices, and neither needs to look back. */
function oracleMatches(filter: string, topic: string): boolean {
  if (topic.startsWith('$') && /^[+#]/.test(filter)) return false;
  let at = 0;
  for (let i = 0; i < filter.length; i += 1) {
    if (filter[i] === '#') return true;
    if (filter[i] === '+') {
      while (at < topic.length && topic[at] !== '/') at += 1;
    } else if (filter[i] === topic[at] && at < topic.length) {
      at += 1;
    } else {
      // "a/#" is met by "a" as well.
      return at === topic.length && filter.slice(i) === '/#';
    }
  }
  return at === topic.length;
}

function check(input: Buffer): void {
  const [a = '', b = '', topic = ''] = input.toString('utf8').split('\n');
  for (const text of [a, b, topic]) {
    assert.equal(filterProblem(text) === undefined, isValidTopicFilter(text), text);
    assert.equal(topicProblem(text) === undefined, isValidTopicName(text), text);
    assert.equal(countLevels(text), text.split('/').length);
    const shared = parseShared(text);
    if (shared === undefined) continue;
    assert.ok(isShared(text));
    assert.equal(`$share/${shared.shareName}/${shared.topicFilter}`, text);
    assert.ok(isValidTopicFilter(shared.topicFilter) && !/[/+#]/.test(shared.shareName));
  }
  if (![a, b].every(isValidTopicFilter) || !isValidTopicName(topic)) return;

  const [inA, inB] = [a, b].map((filter) => oracleMatches(filter, topic));
  assert.deepEqual([matches(a, topic), matches(b, topic)], [inA, inB]);
  assert.ok(covers(a, a) && overlaps(a, a));
  assert.equal(overlaps(a, b), overlaps(b, a));
  if (covers(a, b)) {
    assert.ok(overlaps(a, b), 'what covers meets');
    assert.ok(inA === true || inB !== true, 'the wider one has all topics of the narrower');
  }
  if (inA === true && inB === true) assert.ok(overlaps(a, b), 'both have this topic');

  const tree = new TopicTree<string, string>();
  tree.set(a, 'a', 'a');
  tree.set(b, 'b', 'b');
  const found = tree.match(topic).flatMap((members) => [...members.keys()]);
  const expected = [inA === true ? ['a'] : [], inB === true ? ['b'] : []].flat();
  assert.deepEqual(found.toSorted(), expected);

  const lists = (filters: readonly string[]) => ({
    publish: filters,
    subscribe: filters,
    request: [],
  });
  const access = new AccessRules({ r: { allow: lists([a]), deny: lists([b]) } });
  const open = inA === true && inB !== true && !topic.startsWith('$') && !/\$\{/.test(a + b);
  if (!/\$\{/.test(a + b)) assert.equal(access.publish('r', 'id', topic).allowed, open);
  if (access.subscribe('r', 'id', topic).allowed && !/\$\{/.test(a + b)) {
    assert.ok(open, 'what may not be published may be read');
  }
}

export const topicFilter: FuzzTarget = {
  seeds: [
    'a/b\na/+\na/b',
    '#\n+/#\n$SYS/x',
    'a/#\n+\na',
    '/+/\n/\n//',
    '$share/g/a/#\n$share/g+/a\n$share//a',
    '+/+/#\na/+/c/#\na/b/c/d/e',
    '${id}/x\n__proto__\nconstructor',
    'é/ü\n\ufeff\n\u{10ffff}/+',
  ].map((text) => Buffer.from(text)),
  words: ['\n', '/', '+', '#', '/#', '+/', '$', '$share/', 'a', '\0', '\ud7ff'].map((text) =>
    Buffer.from(text),
  ),
  maxBytes: 120,
  check,
};
