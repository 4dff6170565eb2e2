import assert from 'node:assert/strict';
import { test } from 'node:test';
import { estAnswer } from '../../../../test/harness/est-listener.ts';
import { SallyportError } from '../../../common/base/errors.ts';
import type { EstCall } from '../../../common/ipc/control-calls.ts';
import { PublicAnswers } from './public-answers.ts';

function callOf(label?: string): EstCall {
  return {
    what: 'est',
    operation: 'cacerts',
    label,
    method: 'GET',
    address: '192.0.2.1',
    certificate: undefined,
    authorization: undefined,
    contentType: undefined,
    body: undefined,
  };
}

function setUp() {
  const world = {
    now: 0,
    asked: 0,
    answer: (): unknown => estAnswer(200, `answer ${world.asked}`),
  };
  const answers = new PublicAnswers({
    clock: { now: () => world.now, monotonic: () => world.now },
    call: async () => {
      world.asked += 1;
      return world.answer();
    },
  });
  const text = async (label?: string): Promise<string> =>
    (await answers.get(callOf(label))).body.toString();
  return { world, answers, text };
}

test('an answer is good for a minute', async () => {
  const { world, text } = setUp();
  assert.equal(await text(), 'answer 1');
  world.now = 59_999;
  assert.equal(await text(), 'answer 1');
  world.now = 60_000;
  assert.equal(await text(), 'answer 2');
});

test('while control cannot be asked, the last answer is told, and control is asked again by the next', async () => {
  const { world, text } = setUp();
  await text();
  world.now = 3_600_000;
  world.answer = () => {
    throw new SallyportError('unavailable', 'down');
  };
  assert.equal(await text(), 'answer 1');
  assert.equal(await text(), 'answer 1');
  assert.equal(world.asked, 3);
  world.answer = () => estAnswer(200, 'back');
  assert.equal(await text(), 'back');
});

test('without one it is said why there is none, and so it is for what is no answer', async () => {
  const { world, text } = setUp();
  world.answer = () => {
    throw new SallyportError('busy', 'too many');
  };
  await assert.rejects(text(), { code: 'busy' });
  world.answer = () => 'nonsense';
  await assert.rejects(text(), { code: 'internal' });
});

test('many who wait for the same are one question', async () => {
  const { world, text } = setUp();
  const said = Promise.withResolvers<unknown>();
  world.answer = () => said.promise;
  const all = Array.from({ length: 100 }, () => text());
  said.resolve(estAnswer(200, 'once'));
  assert.deepEqual(new Set(await Promise.all(all)), new Set(['once']));
  assert.equal(world.asked, 1);
});

test('what is refused is not kept, and of what is kept the oldest goes', async () => {
  const { world, text } = setUp();
  world.answer = () => estAnswer(404, 'no such label');
  await text('unknown');
  await text('unknown');
  assert.equal(world.asked, 2);
  world.answer = () => estAnswer(200, 'known');
  for (let i = 0; i < 17; i += 1) await text(`label-${i}`);
  world.asked = 0;
  for (let i = 16; i > 0; i -= 1) await text(`label-${i}`);
  assert.equal(world.asked, 0);
  await text('label-0');
  assert.equal(world.asked, 1);
});
