/**
 * docs/tpm.md as a reader goes through it: its commands, with a software TPM in place of the device's. What the page says
 * a TPM is worth is tested too: the file that is called the key is worth nothing elsewhere.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { after, test } from 'node:test';
import { repositoryRoot } from '../harness/cli.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { SoftwareTpm } from '../harness/software-tpm.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

const limitMs = 120_000;
const { gateway } = await sharedGateway();
const folder = temporaryFolder();
const tpm = await SoftwareTpm.start(folder.at('tpm'));
after(async () => {
  await tpm[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

/** The `sh` blocks of the page, for this gateway and this TPM. */
function commands(): string {
  const page = readFileSync(join(repositoryRoot, 'docs', 'tpm.md'), 'utf8');
  const blocks = [...page.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block = '']) => block);
  let script = blocks.join('');
  for (const [there, here] of [
    ['export TPM2OPENSSL_TCTI=device:/dev/tpmrm0\n', ''],
    ['-p 8883', `-p ${gateway.mqttsPort}`],
    ['localhost:8443', `localhost:${gateway.httpsPort}`],
  ] as const) {
    assert.ok(script.includes(there), `the page does not say ${there}`);
    script = script.replaceAll(there, here);
  }
  return `sallyport() { SALLYPORT "$@" --data DATA; }\n${script}`
    .replace('SALLYPORT', join(repositoryRoot, 'bin', 'sallyport'))
    .replace('DATA', gateway.dataDir);
}

function shell(script: string, env: NodeJS.ProcessEnv) {
  // Without the project's own Node first: a device has none.
  const path = (process.env['PATH'] ?? '')
    .split(delimiter)
    .filter((each) => !each.includes('node_modules'))
    .join(delimiter);
  const { status, stdout, stderr } = spawnSync('sh', ['-eux'], {
    cwd: folder.path,
    env: { ...process.env, ...env, PATH: path },
    input: script,
    encoding: 'utf8',
    timeout: limitMs,
  });
  return { status, stdout, said: `${stdout}${stderr}` };
}

test('the walk-through makes key and request in the TPM, connects with them and renews', async () => {
  const { status, stdout, said } = shell(commands(), tpm.environment);
  assert.equal(status, 0, said);
  assert.match(stdout, /BEGIN TSS2 PRIVATE KEY/);
  const shown = (await gateway.ok('device', 'show', 'meter-17', '--json')).json();
  assert.ok(typeof shown === 'object' && shown !== null && 'certificates' in shown);
  assert.ok(Array.isArray(shown.certificates));
  assert.equal(shown.certificates.length, 2);
});

test('the file of the key is worth nothing without its TPM', async () => {
  const use =
    'OPENSSL_CONF=openssl-tpm.cnf openssl req -new -key meter-17.key -subj /CN=meter-17 -out copy.csr';
  assert.equal(shell(use, tpm.environment).status, 0);
  await using another = await SoftwareTpm.start(folder.at('another'));
  const make = 'openssl genpkey -provider tpm2 -algorithm EC -pkeyopt group:P-256 -out other.key';
  assert.equal(shell(make, another.environment).status, 0, 'the other TPM works');
  const elsewhere = shell(use, another.environment);
  assert.notEqual(elsewhere.status, 0);
  // TPM_RC_INTEGRITY, as the page says.
  assert.match(elsewhere.said, /0x000001df/);
  const without = shell('openssl pkey -in meter-17.key -noout', tpm.environment);
  assert.notEqual(without.status, 0, 'OpenSSL reads it by itself');
});
