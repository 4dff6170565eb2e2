import assert from 'node:assert/strict';
import { test } from 'node:test';
import { denyCodes } from '../../../common/base/errors.ts';
import { asBytes, problems, timedOut } from './wire.ts';

test('each code has the status that the documentation gives it, and says nothing but itself', () => {
  const statuses = Object.fromEntries(denyCodes.map((code) => [code, problems[code].status]));
  assert.deepEqual(statuses, {
    unauthenticated: 401,
    standing: 403,
    busy: 503,
    rate: 429,
    quota: 507,
    'too-large': 413,
    malformed: 400,
    forbidden: 403,
    integrity: 401,
    schema: 422,
    'not-found': 404,
    unavailable: 503,
  });
  for (const code of denyCodes) {
    const { body, status, headers } = problems[code];
    const { title, ...rest } = JSON.parse(body.toString()) as Record<string, unknown>;
    assert.deepEqual(rest, { type: 'about:blank', status, code });
    assert.equal(typeof title, 'string');
    assert.equal(headers.keeping.includes('Retry-After'), [429, 503].includes(status), code);
    assert.equal(headers.closing, `${headers.keeping}Connection: close\r\n`);
  }
  assert.deepEqual(
    denyCodes.filter((code) => problems[code].closes),
    ['unauthenticated', 'standing', 'too-large', 'malformed', 'integrity'],
  );
});

test('an answer by hand is a whole one', () => {
  const text = asBytes(timedOut, Date.UTC(2026, 0, 2)).toString('latin1');
  const [head = '', body] = text.split('\r\n\r\n');
  assert.equal(body, timedOut.body.toString());
  assert.deepEqual(head.split('\r\n'), [
    'HTTP/1.1 408 Request Timeout',
    'Content-Type: application/problem+json',
    `Content-Length: ${timedOut.body.length}`,
    'Cache-Control: no-store',
    'X-Content-Type-Options: nosniff',
    'Connection: close',
    'Date: Fri, 02 Jan 2026 00:00:00 GMT',
  ]);
});
