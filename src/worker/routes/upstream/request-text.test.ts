import assert from 'node:assert/strict';
import { test } from 'node:test';
import { framingLines, targetOf } from './request-text.ts';

test('what the route names is replaced, and what is below it stays', () => {
  for (const [path, routePath, rewrite, expected] of [
    ['/backend/a/b', '/backend/', undefined, '/backend/a/b'],
    ['/backend/a/b', '/backend/', '/', '/a/b'],
    ['/backend/a/b', '/backend/', '/app/v1/', '/app/v1/a/b'],
    ['/backend/', '/backend/', '/app/', '/app/'],
    ['/a', '/', '/app/', '/app/a'],
    ['/', '/', '/app/', '/app/'],
    ['/dev/d1/x/y', '/dev/${id}/', '/app/', '/app/x/y'],
    ['/dev/d1/x/y', '/dev/*/x/', '/app/', '/app/y'],
    ['/dev/d1', '/dev/${id}', '/app', '/app'],
    ['/a/b', '/a/b', '/c', '/c'],
  ] as const) {
    assert.equal(targetOf(path, undefined, routePath, rewrite), expected, `${path} ${routePath}`);
    assert.equal(targetOf(path, 'k=v?', routePath, rewrite), `${expected}?k=v?`);
    assert.equal(targetOf(path, '', routePath, rewrite), `${expected}?`);
  }
});

test('the length of a body is said, also of one that could be there and is not', () => {
  const empty = Buffer.alloc(0);
  assert.equal(framingLines('GET', undefined), '');
  assert.equal(framingLines('DELETE', undefined), '');
  assert.equal(framingLines('POST', undefined), 'Content-Length: 0\r\n');
  assert.equal(framingLines('GET', empty), 'Content-Length: 0\r\n');
  assert.equal(framingLines('PUT', Buffer.from('ab')), 'Content-Length: 2\r\n');
  assert.equal(framingLines('PUT', { bytes: 7 }), 'Content-Length: 7\r\n');
  assert.equal(framingLines('GET', { bytes: undefined }), 'Transfer-Encoding: chunked\r\n');
});
