/**
 * Keys, requests and certificates by the openssl command line, the honest and the hostile ones: what a device's
 * manufacturer, an operator's own CA, or an attacker would make.
 */
import { execFileSync } from 'node:child_process';
import { createPrivateKey, sign, X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Identity } from './gateway.ts';

export interface Authority {
  readonly crt: string;
  readonly key: string;
}

export interface Request {
  readonly key: string;
  readonly csr: string;
}

export interface LeafOptions {
  /** As openssl's -subj wants it: `/CN=d1`; several RDNs follow each other. */
  readonly subject: string;
  /** Lines of an openssl extension section; a normal client certificate when it is left out. */
  readonly extensions?: readonly string[];
  /** Default: an hour ago. */
  readonly notBefore?: Date;
  /** Default: in a day. */
  readonly notAfter?: Date;
}

const hourMs = 3_600_000;

const caExtensions = [
  'basicConstraints=critical,CA:TRUE',
  'keyUsage=critical,keyCertSign,cRLSign',
  'subjectKeyIdentifier=hash',
];

/** Extensions of a client certificate as the gateway's own CA would write them. */
export function clientExtensions(spiffe: string | undefined): string[] {
  return [
    'basicConstraints=critical,CA:FALSE',
    'keyUsage=critical,digitalSignature',
    'extendedKeyUsage=clientAuth',
    ...(spiffe === undefined ? [] : [`subjectAltName=URI:${spiffe}`]),
  ];
}

/** A key and a request for it, made as the README tells a device's owner to make them. */
export function makeRequest(folder: string, name: string, subject = `/CN=${name}`): Request {
  mkdirSync(folder, { recursive: true });
  const key = join(folder, `${name}.key`);
  const csr = join(folder, `${name}.csr`);
  openssl('genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out', key);
  openssl('req -new -key', key, '-subj', subject, '-out', csr);
  return { key, csr };
}

/** A root of somebody's own. */
export function makeAuthority(folder: string, commonName: string): Authority {
  mkdirSync(folder, { recursive: true });
  const authority = { key: join(folder, 'root.key'), crt: join(folder, 'root.crt') };
  const options = ['-subj', `/CN=${commonName}`, '-keyout', authority.key, '-out', authority.crt];
  openssl('req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30', ...options);
  return authority;
}

/**
 * A certificate under `authority`, which may be the gateway's own root after `ca export-root`.
 * @param ca what the client that uses it should trust: the gateway's root.
 */
export function issueLeaf(
  authority: Authority,
  folder: string,
  name: string,
  ca: string,
  options: LeafOptions,
): Identity {
  const { key, csr } = makeRequest(folder, name, options.subject);
  const crt = join(folder, `${name}.crt`);
  signRequest(authority, folder, csr, crt, {
    extensions: options.extensions ?? clientExtensions(undefined),
    notBefore: options.notBefore ?? new Date(Date.now() - hourMs),
    notAfter: options.notAfter ?? new Date(Date.now() + 24 * hourMs),
  });
  return { id: name, key, crt, ca };
}

/** An authority below `authority`. */
export function makeIntermediate(authority: Authority, folder: string, name: string): Authority {
  const { key, csr } = makeRequest(folder, name);
  const crt = join(folder, `${name}.crt`);
  signRequest(authority, folder, csr, crt, {
    extensions: caExtensions,
    notBefore: new Date(Date.now() - hourMs),
    notAfter: new Date(Date.now() + 24 * hourMs),
  });
  return { key, crt };
}

/** Puts the chain behind the leaf, as a client sends it. */
export function withChain(identity: Identity, ...chain: readonly string[]): Identity {
  const crt = identity.crt.replace(/\.crt$/, '.chain.crt');
  writeFileSync(crt, [identity.crt, ...chain].map((file) => readFileSync(file, 'utf8')).join('\n'));
  return { ...identity, crt };
}

/**
 * The same certificate with some of its signed bytes replaced and signed again: for what the command line refuses to
 * write, such as a NUL inside a name. `from` and `to` are of one length, so that no length field changes.
 */
export function rewriteSigned(
  authority: Authority,
  identity: Identity,
  from: string,
  to: string,
): Identity {
  if (Buffer.byteLength(from) !== Buffer.byteLength(to)) throw new Error('the lengths differ');
  const { raw } = new X509Certificate(readFileSync(identity.crt));
  // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue BIT STRING }: RFC 5280 §4.1.
  const tbs = derElement(raw, derElement(raw, 0).contentAt);
  const algorithm = derElement(raw, tbs.end);
  const signed = replaceAll(raw.subarray(tbs.at, tbs.end), Buffer.from(from), Buffer.from(to));
  const signature = sign('sha256', signed, createPrivateKey(readFileSync(authority.key)));
  const certificate = derWrap(
    0x30,
    Buffer.concat([
      signed,
      raw.subarray(algorithm.at, algorithm.end),
      derWrap(0x03, Buffer.concat([Buffer.of(0), signature])),
    ]),
  );
  const crt = identity.crt.replace(/\.crt$/, '.rewritten.crt');
  const base64 = certificate.toString('base64').replace(/.{64}/g, '$&\n');
  writeFileSync(crt, `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`);
  return { ...identity, crt };
}

interface SignOptions {
  readonly extensions: readonly string[];
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** `openssl ca`, because `openssl x509` of Debian cannot set both ends of the validity. */
function signRequest(
  authority: Authority,
  folder: string,
  csr: string,
  crt: string,
  { extensions, notBefore, notAfter }: SignOptions,
): void {
  const base = join(folder, 'openssl-ca');
  const config = `${base}.cnf`;
  if (!existsSync(`${base}.txt`)) writeFileSync(`${base}.txt`, '');
  writeFileSync(
    config,
    [
      '[ca]',
      'default_ca = signer',
      '[signer]',
      `database = ${base}.txt`,
      `new_certs_dir = ${dirname(crt)}`,
      'default_md = sha256',
      'unique_subject = no',
      'rand_serial = yes',
      'policy = anything',
      '[anything]',
      'commonName = optional',
      '[extensions]',
      ...extensions,
      '',
    ].join('\n'),
  );
  const signer = ['-config', config, '-cert', authority.crt, '-keyfile', authority.key];
  const validity = ['-startdate', opensslTime(notBefore), '-enddate', opensslTime(notAfter)];
  const command = 'ca -batch -notext -preserveDN -extensions extensions';
  openssl(command, ...signer, ...validity, '-in', csr, '-out', crt);
}

/** @param command words without spaces of their own; the rest are arguments as they are. */
function openssl(command: string, ...rest: readonly string[]): void {
  const args = [...command.split(' '), ...rest];
  try {
    execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr) : '';
    throw new Error(`openssl ${args.join(' ')}: ${said}`, { cause: error });
  }
}

/** YYYYMMDDHHMMSSZ. */
function opensslTime(date: Date): string {
  return `${date
    .toISOString()
    .replace(/\.\d+Z$/, '')
    .replaceAll(/[-:T]/g, '')}Z`;
}

interface DerElement {
  readonly at: number;
  readonly contentAt: number;
  readonly end: number;
}

function derElement(bytes: Buffer, at: number): DerElement {
  const first = bytes.readUInt8(at + 1);
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f;
  const length = lengthBytes === 0 ? first : bytes.readUIntBE(at + 2, lengthBytes);
  const contentAt = at + 2 + lengthBytes;
  return { at, contentAt, end: contentAt + length };
}

function derWrap(tag: number, content: Buffer): Buffer {
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.of(tag, length), content]);
  if (length < 0x100) return Buffer.concat([Buffer.of(tag, 0x81, length), content]);
  return Buffer.concat([Buffer.of(tag, 0x82, length >> 8, length & 0xff), content]);
}

function replaceAll(bytes: Buffer, from: Buffer, to: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  let replaced = 0;
  for (let at = copy.indexOf(from); at >= 0; at = copy.indexOf(from, at + to.length)) {
    to.copy(copy, at);
    replaced += 1;
  }
  if (replaced === 0) throw new Error('nothing to replace');
  return copy;
}
