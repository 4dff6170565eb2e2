import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { encode } from 'cbor2';
import { runCommandLine } from './program.ts';

const home = mkdtempSync(join(tmpdir(), 'sallyport-schema-'));
after(() => rmSync(home, { recursive: true }));
const at = (name: string): string => join(home, name);
const config = at('sallyport.yaml');
writeFileSync(
  config,
  `routes:
  telemetry: { match: devices/+/telemetry, schema: schemas/reading.json }
  status: { match: devices/+/status, schema: schemas/reading.json }
  odd: { match: devices/+/diagnostics, schema: elsewhere.json }
`,
);
const reading = {
  type: 'object',
  required: ['temperature'],
  properties: {
    temperature: { type: 'number', maximum: 90 },
    unit: { enum: ['C', 'F'] },
    'a/b': { type: 'boolean' },
  },
  additionalProperties: false,
};
writeFileSync(at('reading'), JSON.stringify(reading, undefined, 2));

async function schema(...args: readonly string[]) {
  let out = '';
  let err = '';
  const terminal = {
    out: (text: string) => void (out += text),
    err: (text: string) => void (err += text),
    uid: undefined,
  };
  const line = ['schema', ...args, '--config', config, '--data', at('none')];
  const code = await runCommandLine(line, terminal, '0.1.0');
  return { code, out, err };
}

function payload(bytes: string | Uint8Array): string {
  writeFileSync(at('payload'), bytes);
  return at('payload');
}

test('a schema that was added is beside the configuration, as it was written, for everybody to read', async () => {
  const before = process.umask(0o077);
  try {
    const { code, out, err } = await schema('add', 'reading', at('reading'));
    assert.deepEqual([code, err], [0, '']);
    assert.match(out, /schema: schemas\/reading\.json/);
  } finally {
    process.umask(before);
  }
  const target = at('schemas/reading.json');
  assert.equal(readFileSync(target, 'utf8'), readFileSync(at('reading'), 'utf8'));
  assert.equal(statSync(target).mode & 0o777, 0o644);
  assert.deepEqual(readdirSync(at('schemas')), ['reading.json'], 'nothing half-written is left');
});

test('what is there is replaced only when that is said', async () => {
  writeFileSync(at('other'), '{"type":"object"}');
  const refused = await schema('add', 'reading', at('other'));
  assert.equal(refused.code, 1);
  assert.match(refused.err, /is there already; .*--replace/);
  assert.match(readFileSync(at('schemas/reading.json'), 'utf8'), /temperature/);
  assert.equal((await schema('add', 'reading', at('other'), '--replace')).code, 0);
  assert.equal(readFileSync(at('schemas/reading.json'), 'utf8'), '{"type":"object"}');
  assert.equal((await schema('add', 'reading', at('reading'), '--replace')).code, 0);
});

const unsafe: readonly (readonly [string, string, RegExp])[] = [
  ['a catastrophic pattern', '{"pattern":"^(a+)+$","maxLength":64}', /repeats a group/],
  ['a pattern without maxLength', '{"pattern":"^a+$"}', /needs maxLength/],
  ['$data', '{"type":"number","minimum":{"$data":"1/x"}}', /schema is wrong/],
  ['a remote reference', '{"$ref":"https://evil.example/x.json"}', /outside the schema/],
  ['the same key twice', '{"type":"object","type":"string"}', /same key twice/],
  ['no JSON', 'type: object', /is not a schema/],
];

for (const [name, text, problem] of unsafe) {
  test(`refuses to add ${name}, and leaves nothing behind`, async () => {
    writeFileSync(at('unsafe'), text);
    const { code, err } = await schema('add', 'unsafe', at('unsafe'));
    assert.equal(code, 1);
    assert.match(err, problem);
    assert.equal(err.trim().split('\n').length, 1);
    assert.ok(!existsSync(at('schemas/unsafe.json')));
  });
}

test('a name is no path', async () => {
  for (const name of ['../reading', 'a/b', '.hidden', '', 'x'.repeat(65), 'a b', '-']) {
    const { code } = await schema('add', '--', name, at('reading'));
    assert.equal(code, 2, name);
  }
  assert.deepEqual(readdirSync(at('schemas')), ['reading.json']);
});

test('without a configuration there is no place for it', async () => {
  let told = '';
  const terminal = { out: () => {}, err: (text: string) => void (told += text), uid: undefined };
  const line = ['schema', 'add', 'x', at('reading'), '--config', at('none.yaml')];
  assert.equal(await runCommandLine(line, terminal, '0.1.0'), 1);
  assert.match(told, /no configuration .*sallyport init/);
});

test('test shows every field that fails, by pointer and rule, and never its value', async () => {
  const text = '{"temperature":123.25,"unit":"secret-unit","a/b":"yes","mo~re":1}';
  const { code, out } = await schema('test', 'reading', payload(text));
  assert.equal(code, 1);
  assert.match(out, /^\/temperature +must be <= 90 +#\/properties\/temperature\/maximum$/m);
  assert.match(
    out,
    /^\/unit +must be equal to one of the allowed values +#\/properties\/unit\/enum$/m,
  );
  assert.match(out, /^\/a~1b +must be boolean +#\/properties\/a~1b\/type$/m);
  assert.match(out, /^\/mo~0re +.*no additional properties +#\/additionalProperties$/m);
  assert.doesNotMatch(out, /secret|123|yes/);
  assert.match(
    (await schema('test', 'reading', payload('{}'))).out,
    /^\/temperature +is a required/m,
  );
});

test('test takes a name or a file, JSON or CBOR', async () => {
  assert.equal((await schema('test', 'reading', payload('{"temperature":1}'))).code, 0);
  assert.equal((await schema('test', at('reading'), payload('{"temperature":1}'))).code, 0);
  const cbor = payload(encode({ temperature: 21.5, unit: 'C' }));
  assert.equal((await schema('test', 'reading', cbor, '--type', 'cbor')).code, 0);
  const asJson = await schema('test', 'reading', cbor);
  assert.equal(asJson.code, 1);
  const hot = payload(encode({ temperature: 91 }));
  const { code, out } = await schema('test', 'reading', hot, '--type', 'cbor', '--json');
  assert.equal(code, 1);
  assert.deepEqual(JSON.parse(out), {
    valid: false,
    problems: [
      { field: '/temperature', problem: 'must be <= 90', rule: '#/properties/temperature/maximum' },
    ],
  });
  assert.equal((await schema('test', 'reading', cbor, '--type', 'xml')).code, 2);
  assert.equal((await schema('test', 'nothing', cbor)).code, 1);
});

test('list says which routes use which, and what is wrong with one', async () => {
  writeFileSync(at('schemas/spare.json'), '{}');
  writeFileSync(at('schemas/bad.json'), '{"$ref":"x"}');
  chmodSync(at('schemas/bad.json'), 0o644);
  const { code, out } = await schema('list');
  assert.equal(code, 1);
  assert.match(out, /^schemas\/reading\.json +telemetry, status +good$/m);
  assert.match(out, /^schemas\/spare\.json +- +good$/m);
  assert.match(out, /^schemas\/bad\.json +- +.*outside the schema/m);
  assert.match(out, /^elsewhere\.json +odd +cannot read/m);
  rmSync(at('schemas/bad.json'));
  writeFileSync(at('elsewhere.json'), 'true');
  assert.equal((await schema('list')).code, 0);
});
