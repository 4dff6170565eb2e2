/** A change of standing, policy, certificate or anchor acts on what is open: idle connections, requests, polls, streams. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { Standing } from '../../src/common/base/principal.ts';
import { principalName } from '../../src/common/base/principal.ts';
import { HandClock } from '../../src/worker/policy/test-support.ts';
import { problemCode } from '../harness/https-answer.ts';
import type { HttpAnswer } from '../harness/https-answer.ts';
import { Surroundings } from '../harness/https-listener.ts';
import type { RawHttps } from '../harness/https-raw.ts';
import { runningMs, until, within } from '../harness/waiting.ts';

const outcome = (answer: HttpAnswer): unknown => [answer.status, problemCode(answer)];
const host = 'Host: x\r\n';
const time = `GET /api/v1/time HTTP/1.1\r\n${host}\r\n`;
const poll = `GET /api/v1/commands?wait=60 HTTP/1.1\r\n${host}\r\n`;
const post = `POST /api/v1/telemetry HTTP/1.1\r\n${host}Content-Length: 4\r\n\r\ntrue`;

const lost: readonly Standing[] = ['suspended', 'quarantined', 'firmware-floor', 'revoked'];

/** One kept-alive connection that is idle, one in the middle of a body, one that polls; and a stream. */
async function everything(t: TestContext, surroundings: Surroundings) {
  const idle = await surroundings.raw(t);
  idle.send(time);
  assert.equal((await idle.answer()).status, 200);
  const sending = await surroundings.raw(t);
  sending.send(post.slice(0, -1));
  const polling = await surroundings.raw(t);
  polling.send(poll);
  const stream = await surroundings.device(t, 'd1').eventStream();
  t.after(() => stream[Symbol.dispose]());
  const other = await surroundings.raw(t, 'd2');
  other.send(poll);
  await until('all are busy', 5_000, () => surroundings.broker.subscribers === 3);
  await until('the body is being read', 5_000, () => surroundings.listener.sessions === 5);
  return { idle, sending, polling, stream, other };
}

type Everything = Awaited<ReturnType<typeof everything>>;

async function assertEnded(open: Everything, status: number, code: string): Promise<void> {
  const at = runningMs();
  assert.deepEqual(await open.idle.answersUntilClose(1_000), []);
  assert.deepEqual((await open.sending.answersUntilClose(1_000)).map(outcome), [[status, code]]);
  assert.deepEqual((await open.polling.answersUntilClose(1_000)).map(outcome), [[status, code]]);
  assert.equal((await within(open.stream.ended, 1_000, 'its end')).complete, true);
  assert.ok(runningMs() - at < 1_000);
  assert.equal(open.other.isEnded, false);
}

test('whoever loses his standing loses every connection within a second', async (t) => {
  for (const standing of lost) {
    await t.test(standing, async (each) => {
      const surroundings = await Surroundings.of(each);
      const open = await everything(each, surroundings);
      surroundings.setStanding('device/d1', standing);
      await assertEnded(open, 403, 'standing');
      assert.deepEqual(surroundings.published, []);
    });
  }
});

test('a certificate that is revoked ends what it opened', async (t) => {
  const surroundings = await Surroundings.of(t);
  const open = await everything(t, surroundings);
  const certificate = surroundings.certificateOf('d1');
  surroundings.listener.certificatesRevoked((each) => each === certificate);
  await assertEnded(open, 403, 'standing');
});

test('an anchor that is gone ends what it vouched for', async (t) => {
  const surroundings = await Surroundings.of(t);
  const open = await everything(t, surroundings);
  surroundings.records.delete(principalName('device', 'd1'));
  surroundings.listener.trustChanged();
  await assertEnded(open, 403, 'standing');
});

test('an identity that is given to another anchor ends what the first vouched for', async (t) => {
  const surroundings = await Surroundings.of(t);
  const open = await everything(t, surroundings);
  surroundings.record('device/d1').anchor = 'another';
  surroundings.listener.standingChanged(undefined);
  await assertEnded(open, 403, 'standing');
});

test('a certificate that expires ends what it opened', async (t) => {
  const clock = new HandClock();
  clock.time = Date.now();
  const surroundings = await Surroundings.of(t, { clock });
  const open = await everything(t, surroundings);
  const { notAfterMs } = surroundings.factsOf('d1');
  clock.time = notAfterMs + 1_000;
  await until('it is noticed', 5_000, () => open.idle.isEnded);
  assert.deepEqual((await open.polling.answersUntilClose()).map(outcome), [
    [401, 'unauthenticated'],
  ]);
  await open.stream.ended;
});

test('what may do nothing is refused on a new connection too; quarantine leaves the time', async (t) => {
  const reaches: Readonly<Record<Standing, boolean>> = {
    active: true,
    quarantined: true,
    'firmware-floor': true,
    suspended: false,
    revoked: false,
  };
  for (const [standing, reachesTime] of Object.entries(reaches) as [Standing, boolean][]) {
    const surroundings = await Surroundings.of(t);
    surroundings.record('device/d1').standing = standing;
    const asks = async (request: string): Promise<RawHttps> => {
      const raw = await surroundings.raw(t);
      raw.send(request);
      return raw;
    };
    const told = await (await asks(time)).answer();
    assert.deepEqual(outcome(told), reachesTime ? [200, undefined] : [403, 'standing'], standing);
    if (standing === 'active') continue;
    const refused = [
      post,
      `POST /api/v1/telemetry HTTP/1.1\r\n${host}Content-Length: 1000000\r\n\r\n`,
      poll,
      `GET /api/v1/commands HTTP/1.1\r\n${host}Accept: text/event-stream\r\n\r\n`,
      `DELETE /api/v1/commands/1 HTTP/1.1\r\n${host}\r\n`,
      `GET /nowhere HTTP/1.1\r\n${host}\r\n`,
      `POST /api/v1/time HTTP/1.1\r\n${host}\r\n`,
    ];
    for (const request of refused) {
      const answers = await (await asks(request)).answersUntilClose();
      assert.deepEqual(answers.map(outcome), [[403, 'standing']], `${standing}: ${request}`);
    }
    assert.deepEqual(surroundings.published, []);
  }
});

test('a quarantined device keeps its connection until something else befalls it', async (t) => {
  const surroundings = await Surroundings.of(t);
  surroundings.record('device/d1').standing = 'quarantined';
  const raw = await surroundings.raw(t);
  raw.send(time);
  assert.equal((await raw.answer()).status, 200);
  surroundings.listener.standingChanged(undefined);
  raw.send(time);
  assert.equal((await raw.answer()).status, 200);
  surroundings.setStanding('device/d1', 'active');
  raw.send(post);
  assert.equal((await raw.answer()).status, 202);
  surroundings.setStanding('device/d1', 'quarantined');
  assert.deepEqual(await raw.answersUntilClose(1_000), []);
});

test('what changes while a peer is being identified lets nobody in', async (t) => {
  const changes: Readonly<Record<string, (surroundings: Surroundings) => void>> = {
    suspended: (surroundings) => surroundings.setStanding('device/d1', 'suspended'),
    'registered anew': ({ records }) => {
      records.delete(principalName('device', 'd1'));
      records.set(principalName('device', 'd1'), {
        standing: 'active',
        role: 'device',
        anchor: 'internal',
      });
    },
    'registered no more': ({ records }) => void records.delete(principalName('device', 'd1')),
  };
  for (const [name, change] of Object.entries(changes)) {
    await t.test(name, async (each) => {
      const identifying = Promise.withResolvers<void>();
      const goOn = Promise.withResolvers<void>();
      const surroundings: Surroundings = await Surroundings.of(each, {
        ports: {
          identify: async (connection) => {
            const found = surroundings.identify(connection);
            identifying.resolve();
            await goOn.promise;
            return found;
          },
        },
      });
      const raw = await surroundings.raw(each);
      raw.send(post);
      await identifying.promise;
      change(surroundings);
      goOn.resolve();
      assert.deepEqual((await raw.answersUntilClose()).map(outcome), [[403, 'standing']]);
      assert.deepEqual(surroundings.published, []);
    });
  }
});

test('a message that is being stored is answered, and its connection closed', async (t) => {
  const surroundings = await Surroundings.of(t);
  const storing = Promise.withResolvers<void>();
  const stored = Promise.withResolvers<void>();
  surroundings.store = () => {
    storing.resolve();
    return stored.promise;
  };
  const raw = await surroundings.raw(t);
  raw.send(post + post);
  await storing.promise;
  surroundings.setStanding('device/d1', 'suspended');
  stored.resolve();
  assert.deepEqual((await raw.answersUntilClose(1_000)).map(outcome), [[202, undefined]]);
  assert.equal(surroundings.published.length, 1);
});

test('a policy that takes commands away ends who waits for them, and nothing else', async (t) => {
  const surroundings = await Surroundings.of(t);
  const open = await everything(t, surroundings);
  surroundings.setPolicy(
    "roles: { device: { allow: { publish: [ 'devices/${id}/telemetry' ], subscribe: [] } } }",
  );
  assert.deepEqual(outcome(await open.polling.answer()), [403, 'forbidden']);
  await within(open.stream.ended, 1_000, 'its end');
  open.sending.send('e');
  assert.equal((await open.sending.answer()).status, 202);
  open.polling.send(poll);
  assert.deepEqual(outcome(await open.polling.answer()), [403, 'forbidden']);
});

test('a command on a topic that may no longer be read is held back', async (t) => {
  const surroundings = await Surroundings.of(t, {
    config: "roles: { device: { allow: { subscribe: [ 'devices/${id}/commands/#' ] } } }",
  });
  await surroundings.command('d1', 'secret', '1');
  await surroundings.command('d1', 'open', '1');
  const device = surroundings.device(t, 'd1');
  using stream = await device.eventStream();
  await stream.next();
  await stream.next();
  // The moment between a new policy and the end of what it does not grant any more.
  surroundings.setPolicy(
    "roles: { device: { allow: { subscribe: [ 'devices/${id}/commands/#' ] }, deny: { subscribe: [ 'devices/+/commands/secret' ] } } }",
    'not told yet',
  );
  await surroundings.command('d1', 'secret', '2');
  const last = await surroundings.command('d1', 'open', '2');
  assert.equal((await stream.next()).id, last);
});

test('without a current snapshot nobody new is let in, and who is in stays', async (t) => {
  const surroundings = await Surroundings.of(t);
  const before = await surroundings.raw(t);
  before.send(time);
  assert.equal((await before.answer()).status, 200);
  surroundings.fresh = false;
  const after = await surroundings.raw(t);
  after.send(time);
  const answers = await after.answersUntilClose();
  assert.deepEqual(answers.map(outcome), [[503, 'busy']]);
  assert.ok(answers[0]?.headers.has('retry-after'));
  before.send(time);
  assert.equal((await before.answer()).status, 200);
});

test('a gateway that stops lets finish what is under way and ends what waits', async (t) => {
  const surroundings = await Surroundings.of(t);
  const open = await everything(t, surroundings);
  const drained = surroundings.listener.drain(0, 5_000);
  assert.deepEqual(await open.idle.answersUntilClose(), []);
  assert.deepEqual((await open.polling.answersUntilClose()).map(outcome), [[204, undefined]]);
  assert.equal((await open.stream.ended).complete, true);
  open.sending.send('e');
  const answers = await open.sending.answersUntilClose();
  assert.deepEqual(answers.map(outcome), [[202, undefined]]);
  assert.equal(answers[0]?.headers.get('connection'), 'close');
  await drained;
});
