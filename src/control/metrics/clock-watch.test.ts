import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClockWatch } from './clock-watch.ts';

test('a clock that becomes wrong is told once, and once when it is right again', () => {
  const lines: string[] = [];
  const watch = new ClockWatch({
    warn: (fields) => void lines.push(`wrong ${JSON.stringify(fields)}`),
    info: (fields) => void lines.push(`right ${JSON.stringify(fields)}`),
  });
  watch.read(undefined);
  watch.read({ synchronized: true, aheadSeconds: 0.9 });
  assert.deepEqual(lines, []);
  for (let i = 0; i < 3; i += 1) watch.read({ synchronized: true, aheadSeconds: -1.1 });
  watch.read({ synchronized: false, aheadSeconds: undefined });
  assert.deepEqual(lines, ['wrong {"synchronized":true,"aheadSeconds":-1.1}']);
  watch.read({ synchronized: true, aheadSeconds: 0 });
  assert.equal(lines[1], 'right {"synchronized":true,"aheadSeconds":0}');
  watch.read({ synchronized: false, aheadSeconds: undefined });
  assert.equal(lines[2], 'wrong {"synchronized":false}');
  assert.deepEqual(watch.reading, { synchronized: false, aheadSeconds: undefined });
});
