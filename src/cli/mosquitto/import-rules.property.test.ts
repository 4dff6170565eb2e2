/**
 * Whatever an imported role allows, mosquitto allows to the user of that name; where nothing was listed, the other way
 * round too. mosquitto's decision is written anew here, after its ACL check as version 2 makes it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { AccessRules } from '../../worker/policy/access-rules.ts';
import { parseAcl } from './acl-file.ts';
import { importRules } from './import-rules.ts';

interface Line {
  readonly keyword: string;
  readonly access: string;
  readonly filter: string;
}

interface Client {
  readonly user: string;
  readonly clientId: string;
}

/** The rules of a user first, denials before the rest; then the patterns, denials before the rest; then nothing. */
function mosquittoAllows(
  lines: readonly Line[],
  { user, clientId }: Client,
  access: 'read' | 'write',
  topic: string,
): boolean {
  const own: Line[] = [];
  const patterns: Line[] = [];
  let section: string | undefined;
  for (const line of lines) {
    if (line.keyword === 'user') section = line.filter;
    else if (line.keyword === 'pattern') {
      const filter = line.filter.split('%u').join(user).split('%c').join(clientId);
      patterns.push({ ...line, filter });
    } else if (section === user) own.push(line);
  }
  const lists = /[+#/]/.test(user) || /[+#/]/.test(clientId) ? [own] : [own, patterns];
  for (const list of lists) {
    const hits = list.filter(({ filter }) => mosquittoMatches(filter, topic));
    if (hits.some((hit) => hit.access === 'deny')) return false;
    if (hits.some((hit) => hit.access === access || hit.access === 'readwrite')) return true;
  }
  return false;
}

function mosquittoMatches(filter: string, topic: string): boolean {
  if (filter.startsWith('$') !== topic.startsWith('$')) return false;
  const source = filter
    .replace(/[\\^$.*?()[\]{}|]/g, '\\$&')
    .replace(/\/#$/, '(/.*)?')
    .replace(/^#$/, '.*')
    .replace(/\+/g, '[^/]*');
  return new RegExp(`^${source}$`, 's').test(topic);
}

const users = ['u1', 'u2', 'd1', 'a b', 'p/q'];
const level = fc.constantFrom('a', 'a', 'b', 'u1', 'u2', 'd1', '', '+', '%u', '%u', '%u');
const oddLevel = fc.constantFrom('%c', 'g%u', '%%u', 'g%c', '${id}', '$x', 'x y');
const filter = fc
  .tuple(
    fc.array(fc.oneof({ weight: 8, arbitrary: level }, { weight: 1, arbitrary: oddLevel }), {
      minLength: 1,
      maxLength: 3,
    }),
    fc.boolean(),
  )
  .map(([levels, open]) => [...levels, ...(open ? ['#'] : [])].join('/'))
  .filter((text) => text !== '');
const line: fc.Arbitrary<Line> = fc.oneof(
  { weight: 1, arbitrary: fc.constantFrom(...users).map((name) => lineOf('user', '', name)) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(
        fc.constantFrom('topic', 'pattern'),
        fc.constantFrom('read', 'write', 'readwrite', 'deny'),
        filter,
      )
      .map(([keyword, access, text]) => lineOf(keyword, access, text)),
  },
);

const lines = fc.array(line, { maxLength: 10 });
/** Two users whose rules differ in nothing but their names, or in little else, after rules for everyone. */
const twins = fc
  .tuple(
    fc.array(line, { maxLength: 4 }),
    fc.array(line, { minLength: 1, maxLength: 3 }),
    fc.option(line, { nil: undefined, freq: 4 }),
  )
  .map(([before, same, odd]) => [
    ...before,
    ...['u1', 'u2'].flatMap((user) => [
      lineOf('user', '', user),
      ...same
        .filter(({ keyword }) => keyword !== 'user')
        .map(({ access, filter: text }) =>
          lineOf('topic', access, text.replaceAll(/%u|\bu[12]\b/g, user)),
        ),
    ]),
    ...(odd === undefined ? [] : [odd]),
  ]);
const acls = fc.oneof(lines, twins);

/** Topics that the rules are about, for any of the users: those which no rule mentions are refused by all. */
function topicsOf(acl: readonly Line[]): readonly string[] {
  const topics = acl
    .filter(({ keyword }) => keyword !== 'user')
    .flatMap(({ filter: text }) =>
      [...users, 'c9', '%u'].flatMap((name) =>
        ['a', name].map((other) =>
          text
            .replaceAll(/%[uc]/g, () => name)
            .replaceAll('+', () => other)
            .replace('#', () => other),
        ),
      ),
    );
  return [...new Set(topics)].filter((topic) => topic !== '');
}

function lineOf(keyword: string, access: string, text: string): Line {
  return { keyword, access, filter: text };
}

function aclText(acl: readonly Line[]): string {
  return acl
    .map(({ keyword, access, filter: text }) =>
      [keyword, access, text].filter((part) => part !== '').join(' '),
    )
    .join('\n');
}

function imported(acl: readonly Line[], clientIdIsUser: boolean) {
  const { roles, findings } = importRules(parseAcl(aclText(acl), 'acl'), clientIdIsUser);
  const access = new AccessRules(
    Object.fromEntries(
      roles.map(({ name, allow, deny }) => [
        name,
        { allow: { ...allow, request: [] }, deny: { ...deny, request: [] } },
      ]),
    ),
  );
  return { roles, findings, access };
}

/** Each user as the service that the import means, and whoever has a name that can be an id as a device as well. */
function principals(roles: ReturnType<typeof imported>['roles']) {
  const named = roles.flatMap(({ name, users: own }) =>
    own.map((user) => ({ role: name, user, id: user.replace(/[^a-z0-9]/g, '_') })),
  );
  const devices = ['u1', 'u2', 'd1', 'd9'].map((user) => ({ role: 'device', user, id: user }));
  return [...named, ...devices];
}

test('no imported role allows what mosquitto refuses to the user', () => {
  fc.assert(
    fc.property(
      acls,
      filter.map((text) => text.replaceAll(/%[uc]/g, 'a')),
      fc.boolean(),
      (acl, wanted, clientIdIsUser) => {
        const topics = topicsOf(acl);
        const { roles, access } = imported(acl, clientIdIsUser);
        for (const { role, user, id } of principals(roles)) {
          for (const clientId of clientIdIsUser ? [user] : ['c9', 'b', 'u2']) {
            const client = { user, clientId };
            const said = `${role} ${user} as ${clientId}\n${aclText(acl)}\n→`;
            for (const asked of topics) {
              if (access.publish(role, id, asked).allowed) {
                assert.ok(mosquittoAllows(acl, client, 'write', asked), `${said} write ${asked}`);
              }
              const readable = [asked, wanted].some(
                (subscribed) =>
                  mosquittoMatches(subscribed, asked) &&
                  access.subscribe(role, id, subscribed).allowed,
              );
              if (readable) {
                assert.ok(mosquittoAllows(acl, client, 'read', asked), `${said} read ${asked}`);
              }
            }
          }
        }
      },
    ),
    { numRuns: 1_500 },
  );
});

test('what was carried over without a word is exactly what mosquitto allows', () => {
  let exact = 0;
  fc.assert(
    fc.property(acls, (acl) => {
      const { roles, findings, access } = imported(acl, false);
      if (findings.length > 0) return;
      const sections = new Set(roles.flatMap(({ users: own }) => own));
      for (const { role, user, id } of principals(roles)) {
        // A user with a section of its own is a service; its device is allowed less.
        if (role === 'device' && sections.has(user)) continue;
        for (const asked of topicsOf(acl)) {
          const client = { user, clientId: 'c9' };
          exact += 1;
          assert.deepEqual(
            [access.publish(role, id, asked).allowed, access.subscribe(role, id, asked).allowed],
            [
              mosquittoAllows(acl, client, 'write', asked),
              mosquittoAllows(acl, client, 'read', asked),
            ],
            `${role} ${user} ${asked}\n${aclText(acl)}`,
          );
        }
      }
    }),
    { numRuns: 3_000 },
  );
  assert.ok(exact > 1_000, `${exact} decisions compared`);
});
