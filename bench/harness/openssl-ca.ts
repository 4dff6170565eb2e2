/** `openssl ca` as a CA that issues what Sallyport does: P-256, the same extensions, nothing taken from the request. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeAuthority } from '../../test/harness/openssl.ts';
import { onServerCore } from './machine.ts';
import { scratchFolder } from './scratch.ts';

const config = `[ ca ]
default_ca = bench
[ bench ]
database = index.txt
new_certs_dir = certs
rand_serial = yes
default_md = sha256
default_days = 365
unique_subject = no
policy = any
x509_extensions = client
copy_extensions = none
[ any ]
commonName = supplied
[ client ]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = URI:spiffe://fleet.example/device/any
`;

export class OpensslCa {
  readonly #folder = scratchFolder('openssl-ca');
  readonly #authority = makeAuthority(this.#folder, 'Peer CA');
  #rounds = 0;

  constructor() {
    writeFileSync(join(this.#folder, 'ca.cnf'), config);
    writeFileSync(join(this.#folder, 'index.txt'), '');
    mkdirSync(join(this.#folder, 'certs'));
  }

  /** All of them by one process. @returns microseconds of CPU. */
  issue(csrs: readonly string[]): number {
    this.#rounds += 1;
    const folder = join(this.#folder, `requests-${this.#rounds}`);
    mkdirSync(folder);
    const files = csrs.map((csr, i) => {
      const file = join(folder, `${i}.csr`);
      writeFileSync(file, csr);
      return file;
    });
    const { key, crt } = this.#authority;
    const ca = ['openssl', 'ca', '-config', 'ca.cnf', '-batch', '-notext', '-keyfile', key];
    const command = [...onServerCore, ...ca, '-cert', crt, '-infiles', ...files];
    const before = this.#issued();
    // The shell says what its children cost.
    const text = execFileSync('bash', ['-c', '"$@" >/dev/null 2>&1; times', 'bench', ...command], {
      cwd: this.#folder,
    }).toString();
    if (this.#issued() - before !== csrs.length) throw new Error('openssl ca left requests out');
    const [, children = ''] = text.split('\n');
    return [...children.matchAll(/(\d+)m([\d.]+)s/g)].reduce(
      (sum, [, minutes, seconds]) => sum + (Number(minutes) * 60 + Number(seconds)) * 1e6,
      0,
    );
  }

  #issued(): number {
    return readdirSync(join(this.#folder, 'certs')).length;
  }
}
