import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../common/base/property-test-support.ts';
import { seededRandom } from './random.ts';
import { Sensor } from './telemetry.ts';

function readings(seed: number, count: number) {
  const sensor = new Sensor(seededRandom(seed));
  return Array.from({ length: count }, () => sensor.next());
}

test('a reading has one decimal, and a number that counts', () => {
  const [first, second] = readings(1, 2);
  assert.deepEqual(Object.keys(first!), ['temperature', 'humidity', 'battery', 'seq']);
  assert.deepEqual([first?.seq, second?.seq], [1, 2]);
  assert.match(JSON.stringify(first), /^\{"temperature":-?\d+(\.\d)?,"humidity":\d+(\.\d)?,/);
});

test('values wander in small steps, stay in bounds, and the battery runs down', () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      let before = readings(seed, 1)[0]!;
      for (const reading of readings(seed, 500)) {
        assert.ok(Math.abs(reading.temperature - before.temperature) <= 0.41);
        assert.ok(Math.abs(reading.humidity - before.humidity) <= 0.91);
        assert.ok(reading.temperature >= -20 && reading.temperature <= 60);
        assert.ok(reading.humidity >= 5 && reading.humidity <= 95);
        assert.ok(reading.battery <= before.battery && reading.battery >= 0);
        before = reading;
      }
    }),
    { numRuns: 20 },
  );
});

test('the same seed measures the same, another one something else', () => {
  assert.deepEqual(readings(5, 100), readings(5, 100));
  assert.notDeepEqual(readings(5, 100), readings(6, 100));
  assert.notEqual(readings(5, 100)[99]?.temperature, readings(5, 100)[0]?.temperature);
});
