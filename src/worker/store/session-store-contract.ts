/** The behaviour that every backend of `SessionStore` has: run by the test of each. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { principalName } from '../../common/base/principal.ts';
import { noProperties } from '../../common/codec/mqtt/packets.ts';
import type { Message } from '../broker/message.ts';
import { noIdentifiers } from '../broker/ports.ts';
import type { SubscriptionOptions } from '../broker/ports.ts';
import { neverExpires } from '../broker/sessions.ts';
import type {
  OwnedSession,
  QueueTarget,
  SessionLimits,
  SessionStore,
  StoredSession,
  WantedSession,
} from '../broker/sessions.ts';

export interface MadeSessions {
  /** Two workers on one store. */
  readonly store: SessionStore;
  readonly other: SessionStore;
  dispose(): Promise<void>;
}

export interface SessionHands {
  now: number;
  limits: SessionLimits;
  /** Keys of the sessions that the other workers were told of. */
  readonly told: string[];
}

export interface SessionSurroundings {
  readonly clock: Clock;
  readonly limits: () => SessionLimits;
  readonly onSessionChanged: (key: string) => Promise<void>;
}

const device = principalName('device', 'd1');
const key = 'device/d1 c';
const manyLimits: SessionLimits = {
  sessionsPerIdentity: 4,
  queuedMessages: 1_000,
  queuedBytes: 1_000_000,
  whenQueueFull: 'drop-newest',
};

export function wantedSession(more: Partial<WantedSession> = {}): WantedSession {
  return {
    principal: device,
    clientId: 'c',
    epoch: 1,
    cleanStart: false,
    expirySeconds: 100,
    will: undefined,
    ...more,
  };
}

export function messageOf(text: string, more: Partial<Message> = {}): Message {
  return {
    topic: 'a/b',
    payload: Buffer.from(text),
    qos: 1,
    retain: false,
    properties: noProperties,
    publisher: principalName('service', 's'),
    publisherSession: 'service/s x',
    expiresAt: undefined,
    delivery: undefined,
    ...more,
  };
}

export function optionsOf(more: Partial<SubscriptionOptions> = {}): SubscriptionOptions {
  return {
    qos: 1,
    noLocal: false,
    retainAsPublished: false,
    identifiers: noIdentifiers,
    ...more,
  };
}

export function targetOf(session: OwnedSession, more: Partial<QueueTarget> = {}): QueueTarget {
  return {
    session: session.id,
    key,
    principal: device,
    qos: 1,
    retain: false,
    identifiers: noIdentifiers,
    ...more,
  };
}

export async function textsOf(session: OwnedSession, limit = 2_000): Promise<readonly string[]> {
  const queued = await session.queued(new Set(), limit);
  return queued.map(({ message }) => message.payload.toString());
}

/** @returns the id. */
export async function put(
  store: SessionStore,
  session: OwnedSession,
  text: string,
  more: Partial<Message> = {},
): Promise<string> {
  const id = store.newId();
  await store.enqueue(id, messageOf(text, more), [targetOf(session)], undefined);
  return id;
}

export function failsWith(code: string): (error: unknown) => boolean {
  return (error) => error instanceof SallyportError && error.code === code;
}

const away = { inFlight: [], expirySeconds: 100, will: undefined } as const;

/** @param makeStores empty ones that tell the time by the clock they are given. */
export function sessionStoreContract(
  backend: string,
  makeStores: (surroundings: SessionSurroundings) => MadeSessions,
): void {
  const it = (
    behaviour: string,
    body: (made: MadeSessions, hands: SessionHands) => Promise<void>,
  ): void => {
    void test(`${backend}: ${behaviour}`, async () => {
      const hands: SessionHands = { now: 1_000_000, limits: manyLimits, told: [] };
      const made = makeStores({
        clock: { now: () => hands.now, monotonic: () => hands.now },
        limits: () => hands.limits,
        onSessionChanged: async (changed) => {
          hands.told.push(changed);
        },
      });
      try {
        await body(made, hands);
      } finally {
        await made.dispose();
      }
    });
  };
  const all = async (store: SessionStore): Promise<readonly StoredSession[]> => {
    const found: StoredSession[] = [];
    for await (const session of store.all()) found.push(session);
    return found;
  };
  const willOf = (text: string, delaySeconds: number) => ({
    message: messageOf(text),
    delaySeconds,
  });

  it('a session is new once, and then there with its subscriptions', async ({ store, other }) => {
    const first = await store.open(wantedSession());
    assert.equal(first.present, false);
    assert.equal(first.subscriptions.size, 0);
    assert.deepEqual([first.inFlight, first.received, first.endedWill], [[], [], undefined]);
    const wanted = new Map([
      ['a/+', optionsOf({ qos: 2, identifiers: [268_435_455] })],
      ['$share/g/é/#', optionsOf({ qos: 0, noLocal: true, retainAsPublished: true })],
    ]);
    await first.subscribe(wanted);
    await first.leave(away);
    const again = await other.open(wantedSession({ epoch: 2 }));
    assert.equal(again.present, true);
    assert.equal(again.id, first.id);
    assert.deepEqual([...again.subscriptions], [...wanted]);
    await again.subscribe(new Map([['a/+', optionsOf({ qos: 0 })]]));
    await again.unsubscribe(['$share/g/é/#', 'never/there']);
    const found = await store.find(key);
    assert.deepEqual([...(found?.subscriptions ?? [])], [['a/+', optionsOf({ qos: 0 })]]);
    assert.deepEqual([found?.id, found?.key, found?.principal], [first.id, key, device]);
  });

  it('a clean start ends the session: its subscriptions, its queue and its will', async ({
    store,
  }, hands) => {
    const first = await store.open(wantedSession());
    await first.subscribe(new Map([['a', optionsOf()]]));
    await put(store, first, 'x');
    await first.leave({ ...away, will: willOf('gone', 10) });
    hands.told.length = 0;
    const second = await store.open(wantedSession({ epoch: 2, cleanStart: true }));
    assert.equal(second.present, false);
    assert.notEqual(second.id, first.id);
    assert.equal(second.subscriptions.size, 0);
    assert.deepEqual(await textsOf(second), []);
    assert.equal(second.endedWill?.message.payload.toString(), 'gone');
    assert.deepEqual(hands.told, [key], 'the others no longer find its subscriptions');
    await store.enqueue(store.newId(), messageOf('late'), [targetOf(first)], undefined);
    assert.deepEqual(await textsOf(second), [], 'what was meant for the one before is left out');
  });

  it('a session goes on until its expiry has passed, counted from the end of its connection', async ({
    store,
  }, hands) => {
    const first = await store.open(wantedSession({ expirySeconds: 5 }));
    hands.now += 60_000;
    await first.leave({ ...away, expirySeconds: 10 });
    hands.now += 9_999;
    const second = await store.open(wantedSession({ epoch: 2 }));
    assert.equal(second.present, true);
    await second.leave({ ...away, expirySeconds: 10 });
    hands.now += 10_000;
    const third = await store.open(wantedSession({ epoch: 3, expirySeconds: neverExpires }));
    assert.equal(third.present, false);
    await third.leave({ ...away, expirySeconds: neverExpires });
    hands.now += 1e12;
    assert.equal((await store.open(wantedSession({ epoch: 4 }))).present, true);
  });

  it('a session that ends with its connection leaves nothing, and asks nothing of the store', async ({
    store,
  }, hands) => {
    const session = await store.open(wantedSession({ expirySeconds: 0 }));
    await session.subscribe(new Map([['a', optionsOf()]]));
    assert.deepEqual(await all(store), []);
    assert.deepEqual(hands.told, []);
    await put(store, session, 'x');
    assert.deepEqual(await textsOf(session), []);
    await session.leave({ ...away, expirySeconds: 0 });
    await session.end();
    assert.equal((await store.open(wantedSession({ epoch: 2 }))).present, false);
  });

  it('it is stored for its will, and gone when it has ended', async ({ store }) => {
    const session = await store.open(wantedSession({ expirySeconds: 0, will: willOf('w', 0) }));
    await session.subscribe(new Map([['a', optionsOf()]]));
    const [stored, ...others] = await all(store);
    assert.equal(others.length, 0);
    assert.equal(stored?.subscriptions.size, 0);
    await session.end();
    assert.deepEqual(await all(store), []);
    const next = await store.open(wantedSession({ epoch: 2 }));
    assert.equal(next.present, false);
    assert.equal(next.endedWill, undefined);
  });

  it('a session that is resumed to end with this connection is whole while that lasts', async ({
    store,
  }) => {
    const first = await store.open(wantedSession());
    await first.subscribe(new Map([['a', optionsOf()]]));
    await put(store, first, 'x');
    await first.leave(away);
    const second = await store.open(wantedSession({ epoch: 2, expirySeconds: 0 }));
    assert.equal(second.present, true);
    await put(store, second, 'y');
    assert.deepEqual(await textsOf(second), ['x', 'y']);
    // Its worker dies: nobody says that it has left.
    const third = await store.open(wantedSession({ epoch: 3 }));
    assert.equal(third.present, false);
    assert.deepEqual(await textsOf(third), []);
  });

  it('a will is due with the session or after its delay, and forgotten when the client is back in time', async ({
    store,
  }, hands) => {
    const opened = async (epoch: number, will = willOf(`w${epoch}`, 10)) =>
      store.open(wantedSession({ epoch, expirySeconds: 1_000, will }));
    const due = ({ endedWill }: OwnedSession) => endedWill?.message.payload.toString();
    const first = await opened(1);
    await first.leave({ ...away, will: willOf('w1', 10) });
    hands.now += 9_000;
    const second = await opened(2);
    assert.equal(due(second), undefined, 'within the delay');
    await second.leave({ ...away, will: undefined });
    hands.now += 99_000;
    const third = await opened(3, willOf('w3', 0));
    assert.equal(due(third), undefined, 'it was published, or is not to be');
    const fourth = await opened(4);
    assert.equal(due(fourth), 'w3', 'its worker died, and nobody was there to publish it');
    await fourth.leave({ ...away, expirySeconds: 1_000, will: willOf('w4', 10) });
    hands.now += 10_000;
    assert.equal(due(await opened(5)), 'w4', 'the delay has passed');
  });

  it('a queue is read in the order of the ids, with what each message is to be sent with', async ({
    store,
    other,
  }) => {
    const session = await store.open(wantedSession());
    const late = store.newId();
    await put(other, session, 'second');
    const exact = messageOf('third', {
      properties: { userProperties: [['k', 'v']], correlationData: Buffer.from([0, 255]) },
      delivery: { id: late, picks: [], handedOn: 1 },
      qos: 2,
    });
    const id = store.newId();
    const target = targetOf(session, { qos: 2, retain: true, identifiers: [1, 268_435_455, 1] });
    await store.enqueue(id, exact, [target], undefined);
    await store.enqueue(late, messageOf('first'), [targetOf(session)], undefined);
    assert.deepEqual(await textsOf(session), ['first', 'second', 'third']);
    const last = (await session.queued(new Set([late]), 10))[1];
    assert.deepEqual(last, {
      id,
      qos: 2,
      retain: true,
      identifiers: [1, 268_435_455, 1],
      message: { ...exact, delivery: undefined },
    });
    assert.deepEqual(await textsOf(session, 2), ['first', 'second']);
    const again = await session.read([id, 'f'.repeat(24), late]);
    assert.deepEqual(
      again.map((each) => each.id),
      [late, id],
    );
  });

  it('one message lies in many queues, and is removed from each by itself', async ({ store }) => {
    const a = await store.open(wantedSession());
    const b = await store.open(wantedSession({ clientId: 'b' }));
    const id = store.newId();
    const targets = [targetOf(a), targetOf(b, { key: 'device/d1 b', qos: 2 })];
    await store.enqueue(id, messageOf('x'), targets, undefined);
    assert.deepEqual([a.has(id), b.has(id)], [true, true]);
    await a.remove(id);
    assert.deepEqual([a.has(id), b.has(id)], [false, true]);
    await Promise.all([b.remove(id), b.remove(id), b.remove('0'.repeat(24))]);
    assert.equal(b.has(id), false);
    assert.deepEqual(await textsOf(b), []);
  });

  it('a long queue is read in parts that pass over what is given', async ({ store }) => {
    const session = await store.open(wantedSession());
    const ids = Array.from({ length: 300 }, () => store.newId());
    const target = targetOf(session);
    await Promise.all(ids.map((id) => store.enqueue(id, messageOf(id), [target], undefined)));
    const given = new Set(ids.slice(0, 250));
    assert.deepEqual(
      (await session.queued(given, 20)).map(({ id }) => id),
      ids.slice(250, 270),
    );
    assert.equal((await textsOf(session)).length, 300);
    assert.deepEqual(await session.queued(new Set(ids), 5), []);
  });

  it('what has expired is not read, and is removed; what was sent once is sent again', async ({
    store,
  }, hands) => {
    const session = await store.open(wantedSession());
    const short = await put(store, session, 'short', { expiresAt: hands.now + 1_000 });
    const long = await put(store, session, 'long', { expiresAt: hands.now + 1_001 });
    hands.now += 1_000;
    const again = await session.read([short]);
    assert.equal(again[0]?.message.payload.toString(), 'short');
    assert.deepEqual(await session.queued(new Set([short]), 9), await session.read([long]));
    assert.equal(session.has(short), true, 'it is in flight');
    assert.deepEqual(await textsOf(session), ['long']);
    assert.deepEqual([session.has(short), session.has(long)], [false, true]);
  });

  it('the owner of an earlier epoch changes and reads nothing, and cannot come back', async ({
    store,
    other,
  }) => {
    const old = await store.open(wantedSession({ epoch: 5 }));
    const id = await put(store, old, 'x');
    const now = await other.open(wantedSession({ epoch: 6 }));
    assert.equal(now.present, true);
    const inFlight = [{ packetId: 1, id, qos: 2, released: false }] as const;
    const attempts: (() => Promise<unknown>)[] = [
      () => old.subscribe(new Map([['a', optionsOf()]])),
      () => old.unsubscribe(['a']),
      () => old.queued(new Set(), 1),
      () => old.remove(id),
      () => old.saveInFlight(inFlight),
      () => old.forgetReceived([1]),
      () => old.leave(away),
      () => old.end(),
      () => store.open(wantedSession({ epoch: 5 })),
      () => store.open(wantedSession({ epoch: 4, cleanStart: true })),
    ];
    for (const attempt of attempts) await assert.rejects(attempt, failsWith('busy'));
    assert.deepEqual(await textsOf(now), ['x']);
    assert.equal((await store.find(key))?.subscriptions.size, 0);
    await now.leave(away);
    const back = await store.open(wantedSession({ epoch: 1 }));
    assert.deepEqual(
      await textsOf(back),
      ['x'],
      'a session that nobody has is taken up, though a clock was set back',
    );
    await assert.rejects(now.saveInFlight([]), failsWith('busy'));
  });

  it('what is in flight is there for the next connection, but for what has been completed', async ({
    store,
  }) => {
    const first = await store.open(wantedSession());
    const ids = [];
    for (const text of ['a', 'b', 'c']) ids.push(await put(store, first, text));
    const [a = '', b = '', c = ''] = ids;
    const inFlight = [
      { packetId: 65_535, id: a, qos: 2, released: false },
      { packetId: 2, id: b, qos: 2, released: true },
      { packetId: 3, id: c, qos: 1, released: false },
    ] as const;
    await first.saveInFlight(inFlight);
    const second = await store.open(wantedSession({ epoch: 2 }));
    assert.deepEqual(second.inFlight, inFlight);
    for (const id of [a, b, c]) await second.remove(id);
    await second.leave({ ...away, inFlight });
    const third = await store.open(wantedSession({ epoch: 3 }));
    assert.deepEqual(third.inFlight, inFlight.slice(0, 2), 'the client may hold what was of QoS 2');
    await third.saveInFlight([]);
    assert.deepEqual((await store.open(wantedSession({ epoch: 4 }))).inFlight, []);
  });

  it('a message of QoS 2 is received once, until it is released', async ({ store }) => {
    const publisher = await store.open(wantedSession({ clientId: 'p' }));
    const target = await store.open(wantedSession());
    const receive = (packetId: number, targets: readonly QueueTarget[]) =>
      store.enqueue(store.newId(), messageOf(`${packetId}`), targets, {
        session: publisher.id,
        packetId,
      });
    await receive(65_535, [targetOf(target)]);
    await receive(1, []);
    await receive(1, []);
    await publisher.leave(away);
    const again = await store.open(wantedSession({ clientId: 'p', epoch: 2 }));
    assert.deepEqual(new Set(again.received), new Set([1, 65_535]));
    assert.deepEqual(await textsOf(target), ['65535']);
    await again.forgetReceived([65_535, 7]);
    const third = await store.open(wantedSession({ clientId: 'p', epoch: 3 }));
    assert.deepEqual(third.received, [1]);
  });

  it('nothing is queued for a session that is over', async ({ store, other }, hands) => {
    const session = await store.open(wantedSession());
    await session.subscribe(new Map([['a', optionsOf()]]));
    await put(store, session, 'x');
    hands.told.length = 0;
    await session.end();
    assert.deepEqual(hands.told, [key]);
    const reception = { session: session.id, packetId: 1 };
    await other.enqueue(other.newId(), messageOf('y'), [targetOf(session)], reception);
    assert.equal(await store.find(key), undefined);
    assert.deepEqual(await all(other), []);
    await assert.rejects(session.end(), failsWith('busy'));
    const next = await other.open(wantedSession({ epoch: 2 }));
    assert.deepEqual([next.present, next.received, await textsOf(next)], [false, [], []]);
  });

  it('an identity has a number of sessions, of which those that are over are none', async ({
    store,
    other,
  }, hands) => {
    hands.limits = { ...manyLimits, sessionsPerIdentity: 2 };
    const a = await store.open(wantedSession({ clientId: 'a', expirySeconds: 10 }));
    await other.open(wantedSession({ clientId: 'b' }));
    const refused = store.open(wantedSession({ clientId: 'c' }));
    await assert.rejects(refused, failsWith('quota'));
    await store.open(wantedSession({ clientId: 'c', expirySeconds: 0, will: willOf('w', 0) }));
    await store.open(wantedSession({ clientId: 'b', epoch: 2 }));
    await store.open(wantedSession({ clientId: 'b', epoch: 3, cleanStart: true }));
    const neighbour = principalName('device', 'd10');
    await store.open(wantedSession({ clientId: 'c', principal: neighbour }));
    await a.leave({ ...away, expirySeconds: 10 });
    hands.now += 10_000;
    await store.open(wantedSession({ clientId: 'd' }));
    await assert.rejects(
      store.open(wantedSession({ clientId: 'a', epoch: 9 })),
      failsWith('quota'),
    );
  });

  it('a full queue takes nothing more, and takes again when there is room', async ({
    store,
  }, hands) => {
    hands.limits = { ...manyLimits, queuedMessages: 3 };
    const session = await store.open(wantedSession());
    const first = await put(store, session, '1');
    for (const text of ['2', '3', '4', '5']) await put(store, session, text);
    assert.deepEqual(await textsOf(session), ['1', '2', '3']);
    await session.remove(first);
    await put(store, session, '6');
    assert.deepEqual(await textsOf(session), ['2', '3', '6']);
  });

  it('a full queue takes the new for the oldest, if that is wanted', async ({ store }, hands) => {
    hands.limits = { ...manyLimits, queuedMessages: 3, whenQueueFull: 'drop-oldest' };
    const session = await store.open(wantedSession());
    for (const text of ['1', '2', '3', '4', '5']) await put(store, session, text);
    assert.deepEqual(await textsOf(session), ['3', '4', '5']);
  });

  for (const whenQueueFull of ['drop-newest', 'drop-oldest'] as const) {
    it(`the bytes of a queue are bounded, too (${whenQueueFull})`, async ({ store }, hands) => {
      hands.limits = { ...manyLimits, queuedBytes: 10_000, whenQueueFull };
      const session = await store.open(wantedSession());
      const big = (text: string): string => text.repeat(3_000);
      for (const text of ['1', '2', '3', '4']) await put(store, session, big(text));
      await put(store, session, 'x'.repeat(10_001));
      const kept = (await textsOf(session)).map((text) => text.slice(0, 1));
      assert.deepEqual(kept, whenQueueFull === 'drop-newest' ? ['1', '2', '3'] : ['2', '3', '4']);
    });
  }

  it('an identity that is gone for good takes all its sessions with it', async ({
    store,
    other,
  }, hands) => {
    const sessions = [];
    for (const clientId of ['a', 'b', 'c']) {
      sessions.push(await store.open(wantedSession({ clientId })));
    }
    const neighbour = principalName('device', 'd10');
    await store.open(wantedSession({ principal: neighbour }));
    await sessions[0]?.subscribe(new Map([['a', optionsOf()]]));
    hands.told.length = 0;
    await other.discard(device);
    assert.deepEqual(
      (await all(store)).map(({ principal }) => principal),
      [neighbour],
    );
    assert.deepEqual(hands.told, ['device/d1 a']);
    const [mine] = sessions;
    await assert.rejects(async () => mine?.leave(away), failsWith('busy'));
    await other.discard(device);
  });

  it('the others are told of changes, and of nothing else', async ({ store }, hands) => {
    const session = await store.open(wantedSession());
    const wanted = new Map([['a', optionsOf({ identifiers: [3] })]]);
    await session.subscribe(wanted);
    assert.deepEqual(hands.told, [key]);
    await session.subscribe(wanted);
    await session.unsubscribe(['b']);
    await session.saveInFlight([]);
    await session.leave(away);
    const again = await store.open(wantedSession({ epoch: 2 }));
    await again.subscribe(wanted);
    assert.deepEqual(hands.told, [key]);
    await Promise.all([
      again.subscribe(new Map([['b', optionsOf()]])),
      again.subscribe(new Map([['c', optionsOf()]])),
      again.unsubscribe(['a']),
    ]);
    assert.deepEqual([...((await store.find(key))?.subscriptions.keys() ?? [])], ['b', 'c']);
  });
}
