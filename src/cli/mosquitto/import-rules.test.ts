import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAcl } from './acl-file.ts';
import { importRules } from './import-rules.ts';
import type { ImportedRole } from './import-rules.ts';

function imported(acl: string, clientIdIsUser = false) {
  const { roles, findings } = importRules(parseAcl(acl, 'acl'), clientIdIsUser);
  return {
    roles: Object.fromEntries(roles.map((role) => [role.name, compact(role)])),
    findings: findings
      .toSorted((a, b) => a.line - b.line)
      .map(({ line, what, effect }) => `${line} ${what} ${effect}`),
    reasons: findings.map(({ reason }) => reason).join('\n'),
  };
}

/** Without the lists that are empty. */
function compact({ allow, deny }: ImportedRole): Record<string, Record<string, readonly string[]>> {
  const lists = Object.entries({ allow, deny }).map(([name, { publish, subscribe }]) => {
    const filled = Object.entries({ publish, subscribe }).filter(([, list]) => list.length > 0);
    return [name, Object.fromEntries(filled)] as const;
  });
  return Object.fromEntries(lists.filter(([, list]) => Object.keys(list).length > 0));
}

const aclCases: readonly {
  readonly name: string;
  readonly acl: string;
  readonly clientIdIsUser?: boolean;
  readonly roles: Readonly<Record<string, unknown>>;
  readonly findings: readonly string[];
}[] = [
  {
    name: 'the roles that are built in allow nothing that the ACL does not',
    acl: '# nothing\n\n',
    roles: { device: {}, backend: {} },
    findings: [],
  },
  {
    name: 'a user called backend has the role of that name, one called device has not',
    acl: 'user backend\ntopic read a\nuser device\ntopic read b\npattern read c/%u\n',
    roles: {
      device: { allow: { subscribe: ['c/${id}'] } },
      backend: { allow: { subscribe: ['a', 'c/${id}'] } },
      'device-2': { allow: { subscribe: ['b', 'c/${id}'] } },
    },
    findings: [],
  },
  {
    name: 'rules before the first user are for nobody here',
    acl: 'topic readwrite public/#\ntopic read b\nuser x\ntopic a b\n'.replace('a b', 'a'),
    roles: {
      device: {},
      x: { allow: { publish: ['a'], subscribe: ['a'] } },
      backend: {},
    },
    findings: ['1 rules before the first user (2) left-out'],
  },
  {
    name: 'topics with spaces, words that look like accesses, Windows line ends',
    acl: 'user x\r\ntopic read a b/c d\r\ntopic   write\r\ntopic deny  deny x\r\npattern read %u\r\n',
    roles: {
      device: { allow: { subscribe: ['${id}'] } },
      x: {
        allow: { publish: ['write'], subscribe: ['a b/c d', 'write', '${id}'] },
        deny: { publish: ['deny x'], subscribe: ['deny x'] },
      },
      backend: {},
    },
    findings: [],
  },
  {
    name: 'the client id is no identity: allowed with it is left out, denied with it is denied to all',
    acl: 'pattern readwrite a/%c\npattern deny b/%c/c\npattern read b/#\n',
    roles: {
      device: {
        allow: { subscribe: ['b/#'] },
        deny: { publish: ['b/+/c'], subscribe: ['b/+/c'] },
      },
      backend: {},
    },
    findings: ['1 readwrite a/%c left-out', '2 deny b/%c/c narrower'],
  },
  {
    name: 'unless mosquitto makes the user name the client id',
    clientIdIsUser: true,
    acl: 'pattern readwrite a/%c\n',
    roles: {
      device: { allow: { publish: ['a/${id}'], subscribe: ['a/${id}'] } },
      backend: {},
    },
    findings: [],
  },
  {
    name: 'an id inside of a level is left out, or denied with the whole level',
    acl: 'pattern write s-%u/data\npattern deny t/%u-x\npattern read t/#\n',
    roles: {
      device: { allow: { subscribe: ['t/#'] }, deny: { publish: ['t/+'], subscribe: ['t/+'] } },
      backend: {},
    },
    findings: ['1 write s-%u/data left-out', '2 deny t/%u-x narrower'],
  },
  {
    name: 'topics that begin with $ stay closed',
    acl: 'pattern read $SYS/#\npattern deny $SYS/x\npattern write a\n',
    roles: { device: { allow: { publish: ['a'] } }, backend: {} },
    findings: ['1 read $SYS/# left-out'],
  },
  {
    name: 'what looks like a template or a password of a URL is no filter of a role',
    acl: 'user x\ntopic read a/${id}\ntopic read mqtt://u:p@h\ntopic deny b/${x}/c\npattern read %u\n',
    roles: {
      device: {
        allow: { subscribe: ['${id}'] },
      },
      x: { allow: { subscribe: ['${id}'] }, deny: { publish: ['b/+/c'], subscribe: ['b/+/c'] } },
      backend: {},
    },
    findings: [
      '2 read a/${id} left-out',
      '3 read mqtt://u:p@h left-out',
      '4 deny b/${x}/c narrower',
    ],
  },
  {
    name: 'users whose rules differ in their name share a role, and literal templates do not join them',
    acl: 'user a\ntopic x/a/#\nuser b\ntopic x/b/#\nuser c\ntopic x/${id}/#\npattern read y\n',
    roles: {
      device: { allow: { subscribe: ['y'] } },
      users: { allow: { publish: ['x/${id}/#'], subscribe: ['x/${id}/#', 'y'] } },
      c: { allow: { subscribe: ['y'] } },
      backend: {},
    },
    findings: ['6 readwrite x/${id}/# left-out'],
  },
  {
    name: 'sections of one user add up',
    acl: 'user a\ntopic read x\nuser b\ntopic read y\nuser a\ntopic write z\npattern read p\n',
    roles: {
      device: { allow: { subscribe: ['p'] } },
      a: { allow: { publish: ['z'], subscribe: ['x', 'p'] } },
      b: { allow: { subscribe: ['y', 'p'] } },
      backend: {},
    },
    findings: [],
  },
  {
    name: 'a user whose name cannot be an id keeps his own topics; one with a wildcard has no patterns',
    acl: 'user Ann Lee\ntopic read x\nuser a/b\ntopic read y\npattern read p/%u\n',
    roles: {
      device: { allow: { subscribe: ['p/${id}'] } },
      'ann-lee': { allow: { subscribe: ['x', 'p/Ann Lee'] } },
      'a-b': { allow: { subscribe: ['y'] } },
      backend: {},
    },
    findings: ['2 user Ann Lee narrower', '4 user a/b narrower'],
  },
  {
    name: 'what is denied to a user is denied to a device of that name',
    acl: 'pattern readwrite s/%u/#\nuser bob\ntopic deny s/bob/x\ntopic deny other\n',
    roles: {
      device: {
        allow: { publish: ['s/${id}/#'], subscribe: ['s/${id}/#'] },
        deny: { publish: ['s/bob/x'], subscribe: ['s/bob/x'] },
      },
      bob: {
        allow: { publish: ['s/${id}/#'], subscribe: ['s/${id}/#'] },
        deny: { publish: ['s/bob/x', 'other'], subscribe: ['s/bob/x', 'other'] },
      },
      backend: {},
    },
    findings: [],
  },
  {
    name: 'and to the others with it where patterns let them all in',
    acl: 'pattern read s/#\nuser bob\ntopic deny s/x\n',
    roles: {
      device: {
        allow: { subscribe: ['s/#'] },
        deny: { publish: ['s/x'], subscribe: ['s/x'] },
      },
      bob: { allow: { subscribe: ['s/#'] }, deny: { publish: ['s/x'], subscribe: ['s/x'] } },
      backend: {},
    },
    findings: ['3 deny s/x narrower'],
  },
  {
    name: 'a denied pattern that takes from the section of a user is listed',
    acl: 'user bob\ntopic read s/x\npattern deny s/x\npattern read s/#\n',
    roles: {
      device: { allow: { subscribe: ['s/#'] }, deny: { publish: ['s/x'], subscribe: ['s/x'] } },
      bob: {
        allow: { subscribe: ['s/x', 's/#'] },
        deny: { publish: ['s/x'], subscribe: ['s/x'] },
      },
      backend: {},
    },
    findings: ['3 deny s/x narrower'],
  },
  {
    name: 'names that are nothing but a property of every object',
    acl: 'user __proto__\ntopic read __proto__/constructor\nuser constructor\ntopic read a\npattern read p\n',
    roles: {
      device: { allow: { subscribe: ['p'] } },
      'user-__proto__': { allow: { subscribe: ['__proto__/constructor', 'p'] } },
      constructor: { allow: { subscribe: ['a', 'p'] } },
      backend: {},
    },
    findings: ['2 user __proto__ narrower'],
  },
];

for (const { name, acl, clientIdIsUser, roles, findings } of aclCases) {
  test(name, () => {
    const result = imported(acl, clientIdIsUser);
    assert.deepEqual(result.roles, roles);
    assert.deepEqual(result.findings, findings);
  });
}

test('more sets of rules than there can be roles are listed, and the rest still holds', () => {
  const sections = Array.from(
    { length: 300 },
    (_, i) => `user u${i}\ntopic read t/${'x/'.repeat(2)}${i}\n`,
  );
  const many = `user wide\n${Array.from({ length: 1_100 }, (_, i) => `topic read w/${i}`).join('\n')}\n`;
  const denied = `user none\ntopic read #\n${Array.from({ length: 1_100 }, (_, i) => `topic deny n/${i}`).join('\n')}\n`;
  const { roles, reasons } = imported(`${denied}${many}${sections.join('')}`);
  assert.equal(Object.keys(roles).length, 252);
  assert.deepEqual(roles['none'], {});
  assert.equal(roles['wide']?.['allow']?.['subscribe']?.length, 1_000);
  assert.match(reasons, /more than 250 different sets of rules/);
  assert.match(reasons, /role wide has more than 1000 filters/);
  assert.match(reasons, /role none has more than 1000 denied filters and allows nothing/);
});
