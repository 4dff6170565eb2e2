/**
 * fast-check, drawing the same cases in every run, so that a change that passes here passes elsewhere.
 *
 * `PROPERTY_SEED=random npm test -- PATH` draws others, and a number draws what a failure has named.
 */
import { randomInt } from 'node:crypto';
import fc from 'fast-check';
import { SallyportError } from './errors.ts';

const asked = process.env['PROPERTY_SEED'] ?? '1';

if (!/^(?:random|-?[0-9]+)$/.test(asked)) {
  throw new SallyportError('usage', `PROPERTY_SEED=${asked} is no number`);
}
fc.configureGlobal({ seed: asked === 'random' ? randomInt(2 ** 31) : Number.parseInt(asked, 10) });

export { fc };
