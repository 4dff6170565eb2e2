/**
 * The folders of src/ and the one way their imports point (docs/architecture.md, "Folders"). A folder that has no row
 * here is a violation: say where it belongs before there is code in it.
 */
export interface FolderRule {
  /** Below src/. A file belongs to the longest folder that contains it. */
  readonly folder: string;
  /** Folders, with everything in them, that it may import. Its own files need no mention. */
  readonly mayImport: readonly string[];
  /** The same, for `import type` only. */
  readonly mayImportTypes?: readonly string[];
}

const common = [
  'common/base',
  'common/codec',
  'common/config',
  'common/ipc',
  'common/identity',
] as const;

/** Rows of one wing, lowest first: each folder may import all of `common` and every folder of the rows before it. */
function wing(name: string, rows: readonly (readonly string[])[]): FolderRule[] {
  const folders = rows.map((row) => row.map((folder) => `${name}/${folder}`));
  return folders.flatMap((row, index) =>
    row.map((folder) => ({ folder, mayImport: [...common, ...folders.slice(0, index).flat()] })),
  );
}

const aboveBroker = ['worker/transport', 'worker/policy', 'worker/credentials', 'worker/broker'];

export const folderRules: readonly FolderRule[] = [
  { folder: 'common/base', mayImport: [] },
  { folder: 'common/codec', mayImport: ['common/base'] },
  { folder: 'common/config', mayImport: ['common/base', 'common/codec'] },
  { folder: 'common/ipc', mayImport: ['common/base', 'common/codec', 'common/config'] },
  {
    folder: 'common/identity',
    mayImport: ['common/base', 'common/codec', 'common/config', 'common/ipc'],
  },

  // Faces devices. Nobody names snapshot, store and peering but the composition root: they are reached through ports,
  // and store and peering stand above the broker and the routes because they fit their ports.
  ...wing('worker', [['transport', 'policy', 'snapshot']]),
  { folder: 'worker/credentials', mayImport: [...common, 'worker/transport', 'worker/policy'] },
  { folder: 'worker/broker', mayImport: [...common, 'worker/transport', 'worker/policy'] },
  {
    folder: 'worker/store',
    mayImport: [...common, 'worker/credentials', 'worker/broker'],
    mayImportTypes: ['worker/routes'],
  },
  { folder: 'worker/peering', mayImport: [...common, 'worker/policy', 'worker/broker'] },
  { folder: 'worker/routes', mayImport: [...common, ...aboveBroker] },
  { folder: 'worker/listeners', mayImport: [...common, ...aboveBroker, 'worker/routes'] },
  // main.ts, the composition root, and what it is split into.
  { folder: 'worker', mayImport: [...common, 'worker'] },

  // Faces operators.
  ...wing('control', [
    ['store', 'outside'],
    ['audit-log', 'registry'],
    ['ca', 'firmware'],
    ['enrolment', 'revocation', 'rollouts', 'tokens'],
    ['admin', 'snapshot', 'metrics', 'anomaly', 'posture', 'segmentation'],
  ]),
  { folder: 'control', mayImport: [...common, 'control'] },

  { folder: 'coaps', mayImport: common },
  // Starts both wings as processes of their own and must not run their code in its own.
  { folder: 'supervisor', mayImport: common, mayImportTypes: ['worker', 'control'] },
  // `up` becomes the supervisor; `policy test` decides with the very code that the workers run; `audit-log verify`
  // works on the files of a gateway that is down.
  {
    folder: 'cli',
    mayImport: [
      ...common,
      'supervisor',
      'worker/policy',
      'device',
      'control/audit-log',
      'control/store',
    ],
    mayImportTypes: ['control'],
  },
  // Runs on devices: nothing of the gateway but words and codecs.
  { folder: 'device', mayImport: ['common/base', 'common/codec'] },
];

/** Neither reaches the other, by however many steps. */
export const separateWings: readonly (readonly [string, string])[] = [
  ['worker', 'control'],
  ['control', 'worker'],
];

export interface ModuleRule {
  /** Without `node:`; submodules included. */
  readonly modules: readonly string[];
  /** Folders that may not use them, or, when `only` is given, every folder but these. */
  readonly forbiddenIn?: readonly string[];
  readonly only?: readonly string[];
  /** Files that may all the same. */
  readonly except?: RegExp;
  readonly why: string;
}

export const moduleRules: readonly ModuleRule[] = [
  {
    modules: ['net', 'tls', 'http', 'https', 'http2', 'dgram', 'dns', 'quic'],
    forbiddenIn: ['common'],
    why: 'common opens no sockets',
  },
  {
    modules: ['fs'],
    forbiddenIn: ['common'],
    except: /^common\/config\/load[^/]*\.ts$/,
    why: 'common touches no files but where the configuration is loaded',
  },
  {
    modules: ['child_process', 'cluster', 'worker_threads', 'vm'],
    forbiddenIn: ['common', 'worker', 'control', 'device'],
    why: 'the supervisor starts processes, and nobody runs code from text',
  },
  {
    modules: ['sqlite'],
    forbiddenIn: ['common', 'worker', 'device'],
    why: 'synchronous, so never on the way of a message',
  },
  { modules: ['lmdb'], only: ['worker'], why: 'the stores of the workers' },
  { modules: ['commander'], only: ['cli', 'device'], why: 'arguments are read in one place' },
];
