import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  countLevels,
  isShared,
  isValidTopicFilter,
  isValidTopicName,
  parseShared,
  scanAsciiTopicName,
} from './topics.ts';

const names = [
  'a',
  '/',
  'a/b',
  '/a',
  'a/',
  '//',
  ' ',
  '$SYS/x',
  '$share/g/a',
  '\uFEFF',
  'é/\u{1F600}',
];
const notNames = ['', '+', '#', 'a/+', 'a/#', 'a+b', 'x#', 'a\0', '\0', 'é#', 'x'.repeat(65_536)];

test('topic names', () => {
  for (const name of names) assert.equal(isValidTopicName(name), true, JSON.stringify(name));
  for (const name of notNames) assert.equal(isValidTopicName(name), false, name.slice(0, 9));
  assert.equal(isValidTopicName('x'.repeat(65_535)), true);
  assert.equal(isValidTopicName('é'.repeat(32_768)), false);
});

test('topic filters', () => {
  const filters = ['#', '+', '/', '/#', '+/#', '+/+', 'a/+/b', 'a/#', '/+', '+/', '$SYS/#', 'é/+'];
  for (const filter of [...filters, ...names]) {
    assert.equal(isValidTopicFilter(filter), true, filter);
  }
  const wrong = [
    '',
    '##',
    '#/',
    '#/a',
    'a#',
    '#a',
    'a/#/b',
    '++',
    'a+',
    '+a',
    'a/b+/c',
    '+#',
    '\0',
  ];
  for (const filter of wrong) assert.equal(isValidTopicFilter(filter), false, filter);
});

test('shared subscriptions', () => {
  assert.deepEqual(parseShared('$share/g/a/+'), { shareName: 'g', topicFilter: 'a/+' });
  assert.deepEqual(parseShared('$share/g//'), { shareName: 'g', topicFilter: '/' });
  const wrong = ['$share/', '$share//a', '$share/g', '$share/g/', '$share/+/a', '$share/g#/a'];
  for (const filter of [...wrong, '$share/g/a#']) {
    assert.equal(isShared(filter), true, filter);
    assert.equal(parseShared(filter), undefined, filter);
  }
  for (const filter of ['$share', 'share/g/a', '/$share/g/a', '$SHARE/g/a', '$shared/g/a']) {
    assert.equal(isShared(filter), false, filter);
    assert.equal(parseShared(filter), undefined, filter);
  }
});

test('levels count empty ones', () => {
  for (const [topic, levels] of [
    ['a', 1],
    ['/', 2],
    ['a/b/c', 3],
    ['//', 3],
    ['', 1],
  ] as const) {
    assert.equal(countLevels(topic), levels, topic);
  }
});

test('the quick scan counts the levels of valid ASCII names and leaves all others alone', () => {
  for (const topic of [...names, ...notNames.filter((name) => name.length < 65_536)]) {
    const buffer = Buffer.from(`#${topic}#`);
    const ascii = buffer.length === topic.length + 2;
    const expected = ascii && isValidTopicName(topic) ? countLevels(topic) : 0;
    assert.equal(scanAsciiTopicName(buffer, 1, buffer.length - 1), expected, topic);
  }
});
