/**
 * The fields of a signed request, one a line: `Signature-Input`, `Signature`, `Content-Digest`, `X-IoT-Signature`,
 * `-Timestamp`, `-Nonce`, `-Key-Id`. What is read has one written form; and of all that can be made of a signature that
 * holds, nothing else holds.
 */
import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import {
  innerListText,
  parseDictionary,
} from '../../../src/common/codec/http-signature/structured-fields.ts';
import {
  parseSignature,
  signatureBase,
} from '../../../src/common/codec/http-signature/signature-input.ts';
import { hmacClaim } from '../../../src/worker/credentials/hmac-claim.ts';
import { httpMessageClaim } from '../../../src/worker/credentials/http-message-claim.ts';
import type { UsableKey } from '../../../src/worker/credentials/registered-keys.ts';
import { RequestFields } from '../../../src/worker/credentials/request-fields.ts';
import type { FuzzTarget } from '../fuzz.ts';

const bounds = { length: 2_048, count: 32 };
/** Key, request and signatures of the examples in docs/signatures.md. */
const key: UsableKey = {
  algorithm: 'hmac-sha256',
  key: createSecretKey('0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0', 'hex'),
};
const parts = {
  method: 'POST',
  path: '/api/v1/telemetry',
  query: undefined,
  body: Buffer.from('{"temp": 22.5, "unit": "C"}'),
};
const digest = 'sha-256=:nwRMSG5Y05ZAGvSjqkcC3JuSp3bxS15mAkYTO+wxzp4=:';
const parameters =
  '("@method" "@path" "content-digest");created=1795275900;nonce="f2c8Jx1aQm4KpT7wZr0YbA";keyid="d1.1"';
const bytes = '0fOH/BrgSniMZOXw2w1OwcaThNcVXlw3eDJWuOb0jpk=';
const iot = [
  '3e183470ecf42ca88a3942c3b4485ea26ce559a3781be6edb9a23dc7a83f6462',
  '1795275900',
  'f2c8Jx1aQm4KpT7wZr0YbA',
  'd1.1',
] as const;
const whole = [`sig=${parameters}`, `sig=:${bytes}:`, digest, ...iot];

function check(input: Buffer): void {
  const lines = input.toString('latin1').split('\n');
  for (const line of lines) checkWrittenForm(line);
  checkMessageSignature(lines);
  const [, , , signature = '', timestamp, nonce, keyId] = lines;
  const claim = hmacClaim({ signature, timestamp, nonce, keyId }, parts);
  if (typeof claim === 'string' || claim.problemUnder(key) !== undefined) return;
  assert.deepEqual([signature.toLowerCase(), timestamp, nonce, keyId], iot);
}

function checkWrittenForm(line: string): void {
  for (const [name, member] of parseDictionary(line, bounds) ?? []) {
    const list = 'items' in member ? member : { items: [member], parameters: new Map() };
    const written = innerListText(list);
    assert.match(written, /^[\x20-\x7e]*$/);
    const again = parseDictionary(`${name}=${written}`, { length: 10_000, count: 32 });
    assert.deepEqual(again, new Map([[name, list]]));
  }
}

function checkMessageSignature([
  signatureInput = '',
  signature = '',
  digests = '',
]: string[]): void {
  const parsed = parseSignature(signatureInput, signature);
  if (typeof parsed === 'object') {
    const base = signatureBase(parsed, (component) => component);
    assert.equal(base?.split('\n').length, parsed.components.length + 1);
    assert.equal(new Set(parsed.components).size, parsed.components.length);
  }
  const fields = new RequestFields([
    'Signature-Input',
    signatureInput,
    'Signature',
    signature,
    'Content-Digest',
    digests,
  ]);
  const claim = httpMessageClaim(fields, parts);
  if (typeof claim === 'string' || claim.problemUnder(key) !== undefined) return;
  assert.ok(typeof parsed === 'object');
  assert.equal(parsed.parametersText, parameters);
  assert.equal(parsed.signature.toString('base64'), bytes);
  assert.equal(digests.trim(), digest);
  assert.equal(claim.once, 'nonce:f2c8Jx1aQm4KpT7wZr0YbA');
}

export const httpSignature: FuzzTarget = {
  seeds: [
    whole.join('\n'),
    `sig=( "@method"  "@path" "content-digest" ) ;created=1\nsig=:AAEC:;x\nsha-512=:AA==:, ${digest}`,
    'a=1, b;c=?0;d="\\"\\\\", e=tok/en, f=(1 "2" :AAE=:);g=-7, *h=?1',
    `${whole[0]}, b=()\n${whole[1]}, b=::`,
    'sig=("@query-param";name="a");created="1";__proto__=1;nonce=n\nsig="AAEC"',
    `\n\n\n${iot[0].toUpperCase()}\n01795275900\nshort\nd1.1.1`,
  ].map((text) => Buffer.from(text, 'latin1')),
  words: [
    '\n',
    '"',
    '\\',
    ';',
    '=',
    ', ',
    '(',
    ')',
    ':',
    '?1',
    'sig=',
    '@method',
    ';alg="',
    '\t',
    '0',
  ].map((text) => Buffer.from(text)),
  maxBytes: 900,
  check,
};
