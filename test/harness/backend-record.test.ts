import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ReceivedEvent } from './backend-event.ts';
import { BackendRecord, parseRecord } from './backend-record.ts';
import type { BackendRequest } from './backend-record.ts';

function event(device: string, seq: number, more: Partial<ReceivedEvent> = {}): ReceivedEvent {
  return {
    id: `${device}-${seq}`,
    source: `spiffe://fleet.example/device/${device}`,
    type: 'com.sallyport.message.v1',
    subject: `devices/${device}/telemetry`,
    time: '2026-11-21T07:00:00Z',
    contentType: 'application/json',
    kind: 'device',
    device,
    seq,
    sending: undefined,
    bytes: 9,
    sha256: `${seq}`,
    text: undefined,
    ...more,
  };
}

function request(events: readonly ReceivedEvent[], accepted = true): BackendRequest {
  return { at: 0, did: 'accept', accepted, path: '/', headers: {}, connection: 1, events };
}

const promised = [1, 2, 3].map((seq) => ({ device: 'a', seq }));

test('repetition of the same, other devices in between and what was refused are sound', () => {
  const record = new BackendRecord([
    request([event('a', 1)], false),
    request([event('b', 9), event('a', 1), event('a', 2)]),
    request([event('a', 2), event('b', 9)]),
    request([event('a', 1), event('a', 3)]),
  ]);
  record.assertSound(promised);
  assert.equal(record.repetitions, 3);
});

test('what was only refused is lost', () => {
  const record = new BackendRecord([
    request([event('a', 1), event('a', 3)]),
    request([event('a', 2)], false),
  ]);
  assert.deepEqual(record.missing(promised), [{ device: 'a', seq: 2 }]);
  assert.throws(() => record.assertSound(promised), /1 lost: a 2/);
});

test('a first arrival after a later message is out of order', () => {
  const record = new BackendRecord([
    request([event('a', 2)], false),
    request([event('a', 1), event('a', 3)]),
    request([event('a', 2)]),
  ]);
  assert.deepEqual(record.disorder(), ['a: 2 after 3']);
  assert.throws(() => record.assertSound(promised), /out of order/);
});

test('a message under two ids, or an id with two contents, is no repetition', () => {
  const twoIds = new BackendRecord([
    request([event('a', 1)], false),
    request([event('a', 1, { id: 'other' })]),
  ]);
  assert.match(twoIds.unfaithfulRepetitions().join(), /a 1 has the ids a-1 and other/);
  for (const change of [{ sha256: 'x' }, { time: 'later' }, { subject: 'else' }]) {
    const record = new BackendRecord([request([event('a', 1)]), request([event('a', 1, change)])]);
    assert.equal(record.unfaithfulRepetitions().length, 1, JSON.stringify(change));
  }
});

test('what the sender sent again may have another id, and the same sending may not', () => {
  const first = event('a', 1, { sending: 1, sha256: 'first' });
  const second = event('a', 1, { sending: 2, sha256: 'second', id: 'other' });
  const record = new BackendRecord([request([first]), request([second]), request([first])]);
  assert.deepEqual(record.unfaithfulRepetitions(), []);
  record.add(request([{ ...second, id: 'third' }]));
  assert.deepEqual(record.unfaithfulRepetitions(), ['a 1 sending 2 has the ids other and third']);
});

test('a record about some devices has nothing of others', () => {
  const record = new BackendRecord([
    request([event('a', 1), event('b', 1)]),
    request([event('b', 2)]),
    request([event('a', 2)], false),
  ]).about(new Set(['a']));
  assert.deepEqual(
    record.requests.map(({ events }) => events.map(({ device, seq }) => [device, seq])),
    [[['a', 1]], [['a', 2]]],
  );
  assert.equal(record.arrivals.length, 1);
});

test('a malformed request is named', () => {
  const record = new BackendRecord([{ ...request([], false), problem: 'no ce-id' }]);
  assert.throws(() => record.assertSound([]), /1 malformed: no ce-id/);
});

test('a torn line is no promise and spoils no other', () => {
  const line = JSON.stringify(request([event('a', 1)]));
  assert.equal(parseRecord(`${line}\n${line.slice(0, 40)}\n${line}\n`).length, 2);
  assert.equal(parseRecord(`${line}\n${line.slice(0, 40)}`).length, 1);
});
