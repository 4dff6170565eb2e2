/**
 * Access rules against sets of topics: with few names and few levels every topic can be written down, so that "covers"
 * and "meets" become questions about sets, without any reasoning about wildcards.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import type { RoleDocument } from '../../common/config/policy-document.ts';
import { AccessRules } from './access-rules.ts';

const id = 'a';
/** `z` is in no filter: it stands for every name that no rule knows. */
const names = ['a', 'b', '', 'z'];
const maxFilterLevels = 3;

/** Every topic of one level more than a filter may have, so that `#` has something to reach. */
const topics = Array.from({ length: maxFilterLevels + 1 }, (_, i) => i + 1).flatMap((levels) =>
  Array.from({ length: names.length ** levels }, (_unused, n) =>
    Array.from(
      { length: levels },
      (_level, at) => names[Math.floor(n / names.length ** at) % names.length] ?? '',
    ).join('/'),
  ),
);

/** Written anew from MQTT 5 §4.7, with the template of an id. */
function topicsOf(filter: string): ReadonlySet<string> {
  const source = filter
    .replaceAll('${id}', id)
    .replaceAll('+', '[^/]*')
    .replace(/(^|\/)#$/, (_all, slash: string) => (slash === '' ? '.*' : '(/.*)?'));
  const pattern = new RegExp(`^${source}$`);
  // The empty name is no topic, yet both questions count it as one of one empty level: the safe side.
  return new Set(topics.filter((topic) => pattern.test(topic)));
}

const level = fc.constantFrom('a', 'b', '', '+');
const filterOf = (one: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc
    .tuple(fc.array(one, { minLength: 0, maxLength: maxFilterLevels - 1 }), one, fc.boolean())
    .map(([before, last, open]) => [...before, open ? '#' : last].join('/'))
    .filter((filter) => filter !== '');
const ruleFilter = filterOf(fc.oneof({ weight: 4, arbitrary: level }, fc.constant('${id}')));
const lists = (maxLength: number): fc.Arbitrary<RoleDocument['allow']> =>
  fc.record({
    publish: fc.array(ruleFilter, { maxLength }),
    subscribe: fc.array(ruleFilter, { maxLength }),
    request: fc.constant([]),
  });
const role = fc.record({ allow: lists(4), deny: lists(2) });

test('a topic may be published to when an allowed filter has it and no denied one', () => {
  fc.assert(
    fc.property(role, (document) => {
      const access = new AccessRules({ r: document });
      const allowed = document.allow.publish.map(topicsOf);
      const denied = document.deny.publish.map(topicsOf);
      for (const topic of topics.filter((text) => text !== '')) {
        const expected =
          allowed.some((set) => set.has(topic)) && !denied.some((set) => set.has(topic));
        assert.equal(access.publish('r', id, topic).allowed, expected, topic);
      }
    }),
    { numRuns: 150 },
  );
});

test('a filter may be subscribed to when one allowed filter has all its topics and no denied one any', () => {
  let granted = 0;
  fc.assert(
    fc.property(
      role,
      fc.array(filterOf(level), { minLength: 8, maxLength: 8 }),
      (document, asked) => {
        const access = new AccessRules({ r: document });
        const allowed = document.allow.subscribe.map(topicsOf);
        const denied = document.deny.subscribe.map(topicsOf);
        // What is allowed is asked for as well: chance alone seldom meets it.
        const own = document.allow.subscribe.map((filter) => filter.replaceAll('${id}', id));
        for (const filter of [...asked, ...own]) {
          const wanted = topicsOf(filter);
          const expected =
            allowed.some((set) => wanted.isSubsetOf(set)) &&
            denied.every((set) => wanted.isDisjointFrom(set));
          if (expected) granted += 1;
          assert.equal(access.subscribe('r', id, filter).allowed, expected, filter);
        }
      },
    ),
    { numRuns: 400 },
  );
  assert.ok(granted > 100, `${granted} granted`);
});
