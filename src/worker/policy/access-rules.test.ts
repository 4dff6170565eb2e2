import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { matches } from '../../common/base/topic-filter.ts';
import { AccessRules } from './access-rules.ts';
import { documentOf } from './test-support.ts';

const roles = `
roles:
  narrow: { allow: { subscribe: [ "a/+/b", "a/x/#" ], publish: [ "a/#" ] }, deny: { publish: [ "a/secret/#" ], subscribe: [ "a/x/secret" ] } }
  all: { allow: { subscribe: [ "#" ], publish: [ "#" ] } }
  nothing: {}
  own: { allow: { publish: [ "\${id}/#" ] } }
`;
const access = new AccessRules(documentOf(roles).roles);

const cases: readonly (readonly [string, string, 'publish' | 'subscribe', string, boolean])[] = [
  ['device', 'd1', 'publish', 'devices/d1/telemetry', true],
  ['device', 'd1', 'publish', 'devices/d1/command_responses', true],
  ['device', 'd1', 'publish', 'devices/d2/telemetry', false],
  ['device', 'd1', 'publish', 'devices/d1/commands/x', false],
  ['device', 'd1', 'publish', 'devices/d1', false],
  ['device', 'd1', 'publish', 'devices/d1/telemetry/', false],
  ['device', 'd1', 'publish', '/devices/d1/telemetry', false],
  ['device', 'd1', 'publish', 'devices//telemetry', false],
  ['device', 'd1', 'publish', 'devices/\uFEFFd1/telemetry', false],
  ['device', 'd1', 'publish', 'devices/d1\0/telemetry', false],
  ['device', 'd1', 'publish', 'devices/+/telemetry', false],
  ['device', 'd1', 'publish', 'devices/${id}/telemetry', false],
  ['device', 'd1', 'publish', '__proto__', false],
  ['device', 'd1', 'subscribe', 'devices/d1/commands/#', true],
  ['device', 'd1', 'subscribe', 'devices/d1/commands/reboot', true],
  ['device', 'd1', 'subscribe', 'devices/d1/commands', true],
  ['device', 'd1', 'subscribe', 'devices/d1/#', false],
  ['device', 'd1', 'subscribe', 'devices/+/commands/#', false],
  ['device', 'd1', 'subscribe', 'devices/d2/commands/#', false],
  ['device', 'd1', 'subscribe', '#', false],
  ['device', 'd1', 'subscribe', '+/+/#', false],
  ['device', 'd1', 'subscribe', 'devices/d1/telemetry', false],
  ['device', 'd1', 'subscribe', 'devices/d2/commands/reboot', false],
  ['backend', 'be', 'subscribe', 'devices/+/telemetry', true],
  ['backend', 'be', 'subscribe', 'devices/d1/telemetry', true],
  ['backend', 'be', 'subscribe', 'devices/+/+', false],
  ['backend', 'be', 'subscribe', 'devices/#', false],
  ['backend', 'be', 'subscribe', 'devices/+/commands/#', false],
  ['backend', 'be', 'publish', 'devices/d1/commands/reboot', true],
  ['backend', 'be', 'publish', 'devices/d1/telemetry', false],
  ['narrow', 'n', 'subscribe', 'a/+/b', true],
  ['narrow', 'n', 'subscribe', 'a/x/b', true],
  // Only both filters together would cover it.
  ['narrow', 'n', 'subscribe', 'a/+/#', false],
  ['narrow', 'n', 'subscribe', 'a/x/secret', false],
  ['narrow', 'n', 'subscribe', 'a/x/+', false],
  ['narrow', 'n', 'subscribe', 'a/x/#', false],
  ['narrow', 'n', 'publish', 'a/b', true],
  ['narrow', 'n', 'publish', 'a/secret', false],
  ['narrow', 'n', 'publish', 'a/secret/x', false],
  ['all', 's', 'subscribe', '#', true],
  ['all', 's', 'subscribe', '$SYS/#', false],
  ['all', 's', 'subscribe', '$share/g/a', false],
  ['all', 's', 'publish', '$SYS/x', false],
  ['all', 's', 'publish', '$internal', false],
  ['all', 's', 'subscribe', '$SYS/x', false],
  ['all', 's', 'publish', 'a/__proto__/constructor', true],
  ['nothing', 'x', 'publish', 'a', false],
  ['own', 'x', 'publish', 'x/a', true],
  ['own', 'x', 'publish', 'y/a', false],
  ['own', 'x', 'publish', '${id}/a', false],
  ['none', 'x', 'publish', 'a', false],
  ['constructor', 'x', 'publish', 'a', false],
  ['__proto__', 'x', 'publish', 'a', false],
];

for (const [role, id, action, resource, expected] of cases) {
  test(`${role} ${id} may ${expected ? '' : 'not '}${action} ${JSON.stringify(resource)}`, () => {
    assert.equal(access[action](role, id, resource).allowed, expected);
  });
}

test('topics that begin with $ stay closed whatever a role says', () => {
  const lists = { publish: ['$SYS/#'], subscribe: ['$SYS/#'], request: [] };
  const open = new AccessRules({
    r: { allow: lists, deny: { publish: [], subscribe: [], request: [] } },
  });
  assert.equal(open.publish('r', 'x', '$SYS/a').allowed, false);
  assert.equal(open.subscribe('r', 'x', '$SYS/a').allowed, false);
  assert.equal(open.subscribe('r', 'x', '$SYS/#').allowed, false);
});

test('the verdict names the rule that decided', () => {
  assert.equal(
    access.publish('device', 'd1', 'devices/d1/status').because,
    'allowed by roles.device.allow.publish[1] "devices/${id}/status"',
  );
  assert.deepEqual(access.publish('narrow', 'n', 'a/secret').rule, {
    role: 'narrow',
    list: 'deny',
    action: 'publish',
    index: 0,
    filter: 'a/secret/#',
  });
  const verdict = access.publish('device', 'd1', 'devices/d2/telemetry');
  assert.equal(verdict.rule, undefined);
  assert.match(verdict.because, /no rule of role "device".*denied by default/u);
});

test('whatever a subscription lets through may also be read on its own', () => {
  const levels = fc.array(fc.constantFrom('a', 'b', 'x', 'secret', ''), {
    minLength: 1,
    maxLength: 4,
  });
  const filters = fc
    .tuple(
      fc.array(fc.constantFrom('a', 'b', 'x', 'secret', '+'), { minLength: 1, maxLength: 3 }),
      fc.boolean(),
    )
    .map(([parts, hash]) => [...parts, ...(hash ? ['#'] : [])].join('/'));
  fc.assert(
    fc.property(filters, levels, (filter, parts) => {
      const topic = parts.join('/');
      fc.pre(topic !== '' && matches(filter, topic));
      if (!access.subscribe('narrow', 'n', filter).allowed) return;
      assert.equal(access.subscribe('narrow', 'n', topic).allowed, true, `${filter} ${topic}`);
    }),
    { numRuns: 2_000 },
  );
});
