import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventReader } from './https-events.ts';

const stream = Buffer.from(
  [
    ': hello\n\n',
    'id: 1\nevent: command\ndata: {"a":"ä€😀"}\n\n',
    'data:one\r\ndata: two\r\n\r\n',
    'id: 2\n\n',
    'event: dropped\n\n',
    'retry: 10\n\n',
    'data\n\n',
  ].join(''),
);

test('events are the same however the bytes are split', () => {
  const wanted = [
    { comment: 'hello' },
    { id: '1', event: 'command', data: '{"a":"ä€😀"}' },
    { id: '1', event: 'message', data: 'one\ntwo' },
    { id: '2', event: 'message', data: '' },
  ];
  assert.deepEqual(new EventReader().push(stream), wanted);
  for (let at = 1; at < stream.length; at += 1) {
    const reader = new EventReader();
    const parts = [...reader.push(stream.subarray(0, at)), ...reader.push(stream.subarray(at))];
    assert.deepEqual(parts, wanted, `split at ${at}`);
  }
});

test('an event that is not complete is not given', () => {
  assert.deepEqual(new EventReader().push(Buffer.from('data: x\n')), []);
});

test('what nobody reads is a defect', () => {
  for (const line of ['dat: x\n', 'retry: soon\n', '{"a":1}\n']) {
    assert.throws(() => new EventReader().push(Buffer.from(line)), Error, line);
  }
  assert.throws(() => new EventReader().push(Buffer.of(0xff, 0x0a)));
});
