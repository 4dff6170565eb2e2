import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Announcements } from './announcements.ts';
import type { Handler, PeerListener, Peers, View } from './ports.ts';

/** One peer that answers when it is told to. */
class FakePeers implements Peers {
  readonly slot = 0;
  readonly view: View = { id: '', slots: [0, 1] };
  readonly linked = new Set([1]);
  readonly said: { readonly type: string; readonly done: (reply: unknown) => void }[] = [];
  readonly cuts: string[] = [];
  readonly handlers = new Map<string, Handler>();
  onBatch = (): void => {};
  listener: PeerListener | undefined;

  notify(): boolean {
    return true;
  }

  call(
    _slot: number,
    type: string,
    _body: object,
    _timeoutMs: number,
    done: (reply: unknown) => void,
  ): void {
    this.said.push({ type, done });
  }

  handle(type: string, handler: Handler): void {
    this.handlers.set(type, handler);
  }

  listen(listener: PeerListener): void {
    this.listener = listener;
  }

  sendBatch(): boolean {
    return true;
  }

  cut(_slot: number, reason: string): void {
    this.cuts.push(reason);
  }

  answer(type: string): void {
    const at = this.said.findIndex((word) => word.type === type);
    assert.notEqual(at, -1, `no word ${type}`);
    for (const { done } of this.said.splice(at, 1)) done({});
  }
}

function setUp() {
  const peers = new FakePeers();
  const announcements = new Announcements(peers);
  const kinds = ['fast', 'slow'].map((type) => {
    const items: string[] = [];
    announcements.add({
      type,
      news: () => (items.length === 0 ? [] : [{ items: items.splice(0) }]),
      whole: () => [],
      heard: () => true,
      forget: () => {},
    });
    return (item: string): void => {
      items.push(item);
      announcements.changed();
    };
  });
  const [fast, slow] = kinds;
  assert.ok(fast && slow);
  peers.listener?.onUp(1);
  return { peers, announcements, fast, slow };
}

async function isSettled(announcements: Announcements): Promise<boolean> {
  return Promise.race([
    announcements.settled().then(() => true),
    nextTurn().then(() => nextTurn(false)),
  ]);
}

test('what changes in one turn is told in one word of each kind, whoever waits for it', async () => {
  const { peers, announcements, fast, slow } = setUp();
  const waiting: Promise<void>[] = [];
  for (let i = 0; i < 100; i += 1) {
    fast(`${i}`);
    slow(`${i}`);
    waiting.push(announcements.settled());
  }
  await nextTurn();
  assert.deepEqual(
    peers.said.map(({ type }) => type),
    ['fast', 'slow'],
  );
  peers.answer('fast');
  peers.answer('slow');
  await Promise.all(waiting);
});

test('a later word that is acknowledged first settles nothing that came before it', async () => {
  const { peers, announcements, fast, slow } = setUp();
  slow('1');
  await nextTurn();
  fast('2');
  await nextTurn();
  peers.answer('fast');
  const settled = announcements.settled();
  assert.equal(await isSettled(announcements), false);
  peers.answer('slow');
  await settled;
});

test('a peer that does not acknowledge is cut; one whose link is new is waited for', async () => {
  const { peers, announcements, fast } = setUp();
  fast('1');
  await nextTurn();
  for (const { done } of peers.said.splice(0)) done(undefined);
  assert.deepEqual(peers.cuts, ['news were not acknowledged']);
  const settled = announcements.settled();
  peers.listener?.onDown(1);
  assert.equal(await isSettled(announcements), false, 'a member without a link has heard nothing');
  peers.listener?.onUp(1);
  await settled;
});
