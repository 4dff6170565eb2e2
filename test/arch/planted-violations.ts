/** One small tree per way to break a rule, and the clean neighbours that must stay allowed. */
import type { RuleName } from './rules.ts';

interface PlantedTree {
  readonly name: string;
  /** Path below src/ → text. */
  readonly files: Readonly<Record<string, string>>;
  /** The only violation there is, and what its message must name. */
  readonly breaks: RuleName;
  readonly file: string;
  readonly says: RegExp;
}

/** An importing file and the empty file it imports. */
function pair(
  from: string,
  specifier: string,
  to: string,
  form = 'import { x } from',
): Record<string, string> {
  return { [from]: `${form} '${specifier}';\n`, [to]: 'export const x = 1;\n' };
}

export const plantedViolations: readonly PlantedTree[] = [
  {
    name: 'base imports a codec',
    files: pair('common/base/a.ts', '../codec/mqtt/b.ts', 'common/codec/mqtt/b.ts'),
    breaks: 'direction',
    file: 'common/base/a.ts',
    says: /common\/base may import nothing; not common\/codec/,
  },
  {
    name: 'base imports only the types of a codec',
    files: pair('common/base/a.ts', '../codec/b.ts', 'common/codec/b.ts', 'import type { x } from'),
    breaks: 'direction',
    file: 'common/base/a.ts',
    says: /common\/codec/,
  },
  {
    name: 'config imports identity',
    files: pair('common/config/a.ts', '../identity/b.ts', 'common/identity/b.ts'),
    breaks: 'direction',
    file: 'common/config/a.ts',
    says: /common\/identity/,
  },
  {
    name: 'common imports the supervisor',
    files: pair('common/ipc/a.ts', '../../supervisor/b.ts', 'supervisor/b.ts'),
    breaks: 'direction',
    file: 'common/ipc/a.ts',
    says: /supervisor\/b\.ts/,
  },
  {
    name: 'policy imports transport, its neighbour',
    files: pair('worker/policy/a.ts', '../transport/b.ts', 'worker/transport/b.ts'),
    breaks: 'direction',
    file: 'worker/policy/a.ts',
    says: /worker\/transport/,
  },
  {
    name: 'policy re-exports from the broker above it',
    files: pair('worker/policy/a.ts', '../broker/b.ts', 'worker/broker/b.ts', 'export { x } from'),
    breaks: 'direction',
    file: 'worker/policy/a.ts',
    says: /worker\/broker/,
  },
  {
    name: 'broker imports a route for its side effects',
    files: pair('worker/broker/a.ts', '../routes/b.ts', 'worker/routes/b.ts', 'import'),
    breaks: 'direction',
    file: 'worker/broker/a.ts',
    says: /worker\/routes/,
  },
  {
    name: 'route imports a listener',
    files: pair('worker/routes/a.ts', '../listeners/mqtt/b.ts', 'worker/listeners/mqtt/b.ts'),
    breaks: 'direction',
    file: 'worker/routes/a.ts',
    says: /worker\/listeners/,
  },
  {
    name: 'listener imports peering past its port',
    files: pair('worker/listeners/mqtt/a.ts', '../../peering/b.ts', 'worker/peering/b.ts'),
    breaks: 'direction',
    file: 'worker/listeners/mqtt/a.ts',
    says: /worker\/peering/,
  },
  {
    name: 'broker imports the store that fits its port',
    files: pair('worker/broker/a.ts', '../store/b.ts', 'worker/store/b.ts'),
    breaks: 'direction',
    file: 'worker/broker/a.ts',
    says: /worker\/store\/b\.ts/,
  },
  {
    name: 'listener imports the composition root',
    files: pair('worker/listeners/mqtt/a.ts', '../../main.ts', 'worker/main.ts'),
    breaks: 'direction',
    file: 'worker/listeners/mqtt/a.ts',
    says: /worker\/main\.ts/,
  },
  {
    name: 'registry imports the CA above it',
    files: pair('control/registry/a.ts', '../ca/b.ts', 'control/ca/b.ts'),
    breaks: 'direction',
    file: 'control/registry/a.ts',
    says: /control\/ca/,
  },
  {
    name: 'CA imports enrolment above it',
    files: pair('control/ca/a.ts', '../enrolment/b.ts', 'control/enrolment/b.ts'),
    breaks: 'direction',
    file: 'control/ca/a.ts',
    says: /control\/enrolment/,
  },
  {
    name: 'revocation imports admin above it, when it runs',
    files: {
      'control/revocation/a.ts': "export const load = () => import('../admin/b.ts');\n",
      'control/admin/b.ts': 'export const x = 1;\n',
    },
    breaks: 'direction',
    file: 'control/revocation/a.ts',
    says: /control\/admin/,
  },
  {
    name: 'metrics imports admin beside it',
    files: pair('control/metrics/a.ts', '../admin/b.ts', 'control/admin/b.ts'),
    breaks: 'direction',
    file: 'control/metrics/a.ts',
    says: /control\/admin/,
  },
  {
    name: 'supervisor runs code of a wing in its own process',
    files: pair('supervisor/a.ts', '../worker/policy/b.ts', 'worker/policy/b.ts'),
    breaks: 'direction',
    file: 'supervisor/a.ts',
    says: /worker\/policy/,
  },
  {
    name: 'command line imports values of control',
    files: pair('cli/a.ts', '../control/registry/b.ts', 'control/registry/b.ts'),
    breaks: 'direction',
    file: 'cli/a.ts',
    says: /control\/registry/,
  },
  {
    name: 'command line imports types of the broker',
    files: pair(
      'cli/a.ts',
      '../worker/broker/b.ts',
      'worker/broker/b.ts',
      'import type { x } from',
    ),
    breaks: 'direction',
    file: 'cli/a.ts',
    says: /worker\/broker/,
  },
  {
    name: 'supervisor imports a command',
    files: pair('supervisor/a.ts', '../cli/b.ts', 'cli/b.ts'),
    breaks: 'direction',
    file: 'supervisor/a.ts',
    says: /cli\/b\.ts/,
  },
  {
    name: 'device client imports the configuration',
    files: pair('device/a.ts', '../common/config/b.ts', 'common/config/b.ts'),
    breaks: 'direction',
    file: 'device/a.ts',
    says: /common\/config/,
  },
  {
    name: 'a folder nobody has placed',
    files: { 'worker/helpers/a.ts': 'export const x = 1;\n' },
    breaks: 'unknown-folder',
    file: 'worker/helpers/a.ts',
    says: /layers\.ts/,
  },
  {
    name: 'a file directly in common',
    files: { 'common/a.ts': 'export const x = 1;\n' },
    breaks: 'unknown-folder',
    file: 'common/a.ts',
    says: /layers\.ts/,
  },
  {
    name: 'source imports the test harness',
    files: { 'cli/a.ts': "import { x } from '../../test/harness/b.ts';\n" },
    breaks: 'outside-src',
    file: 'cli/a.ts',
    says: /test\/harness\/b\.ts/,
  },
  {
    name: 'source imports a unit test',
    files: {
      'cli/a.ts': "import { x } from './b.test.ts';\n",
      'cli/b.test.ts': 'export const x = 1;\n',
    },
    breaks: 'imports-test',
    file: 'cli/a.ts',
    says: /cli\/b\.test\.ts/,
  },
  {
    name: 'unit test of a worker reaches control',
    files: pair('worker/policy/a.test.ts', '../../control/ca/b.ts', 'control/ca/b.ts'),
    breaks: 'wing',
    file: 'worker/policy/a.test.ts',
    says: /worker reaches control: worker\/policy\/a\.test\.ts → control\/ca\/b\.ts/,
  },
  {
    name: 'unit test of control reaches a worker in two steps',
    files: {
      'control/ca/a.test.ts': "import { x } from '../../supervisor/b.ts';\n",
      'supervisor/b.ts': "import type { x } from '../worker/policy/c.ts';\n",
      'worker/policy/c.ts': 'export const x = 1;\n',
    },
    breaks: 'wing',
    file: 'control/ca/a.test.ts',
    says: /control reaches worker: .* → supervisor\/b\.ts → worker\/policy\/c\.ts/,
  },
  {
    name: 'two files import each other',
    files: {
      'cli/a.ts': "import { b } from './b.ts';\nexport const a = 1;\n",
      'cli/b.ts': "import type { a } from './a.ts';\nexport const b = 1;\n",
    },
    breaks: 'cycle',
    file: 'cli/a.ts',
    says: /cli\/a\.ts → cli\/b\.ts → cli\/a\.ts/,
  },
  {
    name: 'three files in a ring',
    files: {
      'cli/a.ts': "import './b.ts';\n",
      'cli/b.ts': "import './c.ts';\n",
      'cli/c.ts': "import './a.ts';\n",
    },
    breaks: 'cycle',
    file: 'cli/a.ts',
    says: /cli\/b\.ts → cli\/c\.ts → cli\/a\.ts/,
  },
  ...['node:net', 'node:tls', 'node:http', 'node:dgram', 'net'].map((module) => ({
    name: `common imports ${module}`,
    files: { 'common/ipc/a.ts': `import type { Socket } from '${module}';\n` },
    breaks: 'module' as const,
    file: 'common/ipc/a.ts',
    says: /opens no sockets/,
  })),
  ...['node:fs', 'node:fs/promises', 'fs'].map((module) => ({
    name: `common imports ${module}`,
    files: { 'common/identity/a.ts': `import * as files from '${module}';\n` },
    breaks: 'module' as const,
    file: 'common/identity/a.ts',
    says: /touches no files/,
  })),
  {
    name: 'worker starts a process',
    files: { 'worker/routes/a.ts': "import { spawn } from 'node:child_process';\n" },
    breaks: 'module',
    file: 'worker/routes/a.ts',
    says: /supervisor starts processes/,
  },
  {
    name: 'worker opens SQLite',
    files: { 'worker/store/a.ts': "import { DatabaseSync } from 'node:sqlite';\n" },
    breaks: 'module',
    file: 'worker/store/a.ts',
    says: /synchronous/,
  },
  {
    name: 'control opens LMDB',
    files: { 'control/store/a.ts': "import { open } from 'lmdb';\n" },
    breaks: 'module',
    file: 'control/store/a.ts',
    says: /stores of the workers/,
  },
  {
    name: 'import of a computed name',
    files: { 'cli/a.ts': 'export const load = (name: string) => import(name);\n' },
    breaks: 'computed-import',
    file: 'cli/a.ts',
    says: /must say/,
  },
  {
    name: 'import of a name that is put together',
    files: { 'cli/a.ts': "export const load = (name: string) => import('./' + name);\n" },
    breaks: 'computed-import',
    file: 'cli/a.ts',
    says: /must say/,
  },
  {
    name: 'import of a template',
    files: { 'cli/a.ts': 'export const load = (name: string) => import(`./${name}`);\n' },
    breaks: 'computed-import',
    file: 'cli/a.ts',
    says: /must say/,
  },
  {
    name: 'require',
    files: { 'cli/a.ts': 'export const load = createRequire(import.meta.url);\n' },
    breaks: 'computed-import',
    file: 'cli/a.ts',
    says: /require/,
  },
  {
    name: 'a certificate is signed past the checks',
    files: { 'control/enrolment/a.ts': 'await this.#parts.authority.issue(name, spki);\n' },
    breaks: 'issuance',
    file: 'control/enrolment/a.ts',
    says: /every check/,
  },
  {
    name: 'plain Error is thrown',
    files: { 'worker/broker/a.ts': "export function f() {\n  throw new Error('no');\n}\n" },
    breaks: 'plain-error',
    file: 'worker/broker/a.ts',
    says: /SallyportError/,
  },
  {
    name: 'plain TypeError is passed on',
    files: { 'cli/a.ts': "export const f = () => Promise.reject(TypeError('no'));\n" },
    breaks: 'plain-error',
    file: 'cli/a.ts',
    says: /SallyportError/,
  },
  {
    name: 'console in a worker',
    files: { 'worker/broker/a.ts': "export const f = () => console.log('x');\n" },
    breaks: 'console',
    file: 'worker/broker/a.ts',
    says: /Logger/,
  },
  {
    name: 'console in the supervisor outside its banner',
    files: { 'supervisor/a.ts': "export const f = () => console['log']('x');\n" },
    breaks: 'console',
    file: 'supervisor/a.ts',
    says: /Logger/,
  },
  {
    name: 'path of a source file that a package does not have',
    files: {
      'supervisor/a.ts': "export const entry = new URL('../worker/main.ts', import.meta.url);\n",
    },
    breaks: 'source-path',
    file: 'supervisor/a.ts',
    says: /extname/,
  },
  {
    name: 'the same in a template',
    files: { 'supervisor/a.ts': 'export const entry = (name: string) => `../${name}/main.ts`;\n' },
    breaks: 'source-path',
    file: 'supervisor/a.ts',
    says: /extname/,
  },
  {
    name: 'test that is skipped',
    files: { 'cli/a.test.ts': "test.skip('x', () => {});\n" },
    breaks: 'left-out-test',
    file: 'cli/a.test.ts',
    says: /does not run/,
  },
  {
    name: 'test that is skipped on some machines',
    files: { 'cli/a.test.ts': "test('x', { skip: !hasBroker }, () => {});\n" },
    breaks: 'left-out-test',
    file: 'cli/a.test.ts',
    says: /does not run/,
  },
  {
    name: 'file of 601 lines',
    files: { 'cli/a.ts': 'export {};\n'.repeat(601) },
    breaks: 'too-long',
    file: 'cli/a.ts',
    says: /601 lines/,
  },
];

/** No violation in any of these, together. */
export const allowedTree: Readonly<Record<string, string>> = {
  'common/base/errors.ts': 'export class SallyportError extends Error {}\n',
  'common/codec/mqtt/encoder.ts': "import { SallyportError } from '../../base/errors.ts';\n",
  'common/config/policy-document.ts': 'export interface Policy {}\n',
  'common/config/load-config.ts': "import { readFileSync } from 'node:fs';\n",
  'common/ipc/snapshot.ts': "import type { Policy } from '../config/policy-document.ts';\n",
  'common/identity/certificate.ts': "import { x } from '../ipc/snapshot.ts';\n",
  'worker/transport/tls.ts': "import { createServer } from 'node:tls';\n",
  'worker/policy/decide.ts': "import { x } from '../../common/identity/certificate.ts';\n",
  'worker/broker/ports.ts': "import type { D } from '../policy/decide.ts';\n",
  'worker/store/queue.ts':
    "import type { Queue } from '../broker/ports.ts';\nimport { open } from 'lmdb';\n",
  'worker/listeners/mqtt/session.ts':
    "import { x } from '../../broker/ports.ts';\nimport '../../transport/tls.ts';\n",
  'worker/wiring.ts': "import { open } from './store/queue.ts';\n",
  'worker/main.ts': "import './listeners/mqtt/session.ts';\nimport './wiring.ts';\n",
  'control/registry/devices.ts': "import { DatabaseSync } from 'node:sqlite';\n",
  'control/ca/issue.ts': "import { x } from '../registry/devices.ts';\n",
  'control/admin/server.ts': "import { x } from '../ca/issue.ts';\n",
  'control/main.ts': "import './admin/server.ts';\n",
  'supervisor/banner.ts': "export const f = () => console.log('ready');\n",
  'supervisor/main.ts': "import type { X } from '../control/main.ts';\nimport './banner.ts';\n",
  'cli/policy-test.ts':
    "import { d } from '../worker/policy/decide.ts';\nimport type { X } from '../control/admin/server.ts';\nconsole.log(await import('../supervisor/main.ts'));\n",
  'cli/not-code.ts': [
    "// import { x } from '../control/ca/issue.ts'; throw new Error('no')",
    "/* import('../control/ca/issue.ts') console.log(1) */",
    'export const text = "import { x } from \'../control/ca/issue.ts\'; throw new Error(1)";',
    "export const nested = `a ${[`import '../x.ts'; ${{ b: '}' }.b} new Error(`].join()} require(`;",
    "export const pattern = /['\"`]|[/'] new Error(/g;",
    'export const half = 10 / 2; export const quarter = half / 2;',
    'export type { Policy } from "../common/config/policy-document.ts";',
    'class LinkError extends Error {} export const known = (e: unknown) => e instanceof Error && new LinkError();',
  ].join('\n'),
  'device/client.ts': "import { x } from '../common/codec/mqtt/encoder.ts';\n",
  'worker/broker/broker.test.ts':
    "import { x } from '../../../test/harness/clock.ts';\nimport { y } from '../listeners/mqtt/session.ts';\nimport { readFileSync } from 'node:fs';\nthrow new Error('a test may');\n",
};
