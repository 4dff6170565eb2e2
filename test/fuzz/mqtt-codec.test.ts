import { test } from 'node:test';
import { fuzz } from './mqtt-codec.ts';

test('mutated MQTT packets break no invariant of the codec', () => {
  for (const seed of [1, 2, 3]) fuzz(seed, (runs) => runs === 2000);
});
