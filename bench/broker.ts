/**
 * Cost of the broker on the hot path. Prints one JSON line per subject: nanoseconds per message, the median and the
 * spread of the rounds. Wall time of one thread; compare lines of one run only.
 */
import { systemClock } from '../src/common/base/clock.ts';
import { principalName } from '../src/common/base/principal.ts';
import { noProperties } from '../src/common/codec/mqtt/packets.ts';
import { Broker } from '../src/worker/broker/broker.ts';
import { DurableIndex } from '../src/worker/broker/durable-index.ts';
import { aloneCrossing } from '../src/worker/broker/fake-crossing.ts';
import type { Message } from '../src/worker/broker/message.ts';
import { decodeMessage, encodeMessage } from '../src/worker/broker/message-codec.ts';
import type { Subscriber, SubscriptionOptions } from '../src/worker/broker/ports.ts';
import { sessionKey } from '../src/worker/broker/session-key.ts';
import { SharedGroups } from '../src/worker/broker/shared-groups.ts';
import { TopicTree } from '../src/worker/broker/topic-tree.ts';

const rounds = 9;
const options: SubscriptionOptions = {
  qos: 1,
  noLocal: false,
  retainAsPublished: false,
  identifiers: [],
};

let delivered = 0;

function subscriber(key: string): Subscriber {
  return {
    key,
    principal: principalName('device', 'd1'),
    deliver: () => {
      delivered += 1;
    },
  };
}

function messageTo(topic: string): Message {
  return {
    topic,
    payload: Buffer.from('{"temperature":22.5}'),
    qos: 1,
    retain: false,
    properties: noProperties,
    publisher: principalName('device', 'd1'),
    publisherSession: 'device/d1 d1',
    delivery: undefined,
    expiresAt: undefined,
  };
}

/** A fleet of devices, each with its own commands, and backends that read all telemetry. */
function fleet(devices: number, backends: number): Broker {
  const broker = new Broker({ crossing: aloneCrossing(), clock: systemClock });
  for (let i = 0; i < devices; i += 1) {
    broker.subscribe(subscriber(`d${i}`), `devices/d${i}/commands/#`, options);
  }
  for (let i = 0; i < backends; i += 1) {
    broker.subscribe(subscriber(`b${i}`), 'devices/+/telemetry', options);
  }
  return broker;
}

/** What durable sessions want: each the telemetry of one device. */
async function queues(sessions: number): Promise<DurableIndex> {
  const index = new DurableIndex({
    sessions: {
      find: () => Promise.resolve(undefined),
      async *all() {
        for (let i = 0; i < sessions; i += 1) {
          const principal = principalName('service', `s${i}`);
          const subscriptions = new Map([[`devices/d${i}/telemetry`, options]]);
          yield { id: `${i}`, key: sessionKey(principal, 'c'), principal, subscriptions };
        }
      },
    },
    groups: new SharedGroups(0),
  });
  await index.rescan();
  return index;
}

function measure(name: string, messages: number, run: (i: number) => void): void {
  const nanoseconds: number[] = [];
  for (let round = 0; round <= rounds; round += 1) {
    const started = process.hrtime.bigint();
    for (let i = 0; i < messages; i += 1) run(i);
    const spent = Number(process.hrtime.bigint() - started) / messages;
    // The first round warms up.
    if (round > 0) nanoseconds.push(spent);
  }
  nanoseconds.sort((a, b) => a - b);
  const at = (part: number): number =>
    Math.round(nanoseconds[Math.floor(part * (rounds - 1))] ?? 0);
  console.log(JSON.stringify({ name, medianNs: at(0.5), lowNs: at(0), highNs: at(1) }));
}

const telemetry = Array.from({ length: 1_000 }, (_, i) => messageTo(`devices/d${i}/telemetry`));
const commands = Array.from({ length: 1_000 }, (_, i) => messageTo(`devices/d${i}/commands/go`));
const pick = (from: readonly Message[], i: number): Message =>
  from[i % from.length] ?? messageTo('none');

const small = fleet(10_000, 1);
measure('fan-in: 1,000 topics, 1 of 10,001 subscribers', 500_000, (i) => {
  small.publish(pick(telemetry, i));
});
measure('commands: each to 1 of 10,001 subscribers', 500_000, (i) => {
  small.publish(pick(commands, i));
});
const wide = fleet(1_000, 1_000);
measure('fan-out: 1 topic to 1,000 subscribers', 2_000, (i) => {
  wide.publish(pick(telemetry, i));
});

const tree = new TopicTree<string, number>();
for (let i = 0; i < 10_000; i += 1) tree.set(`devices/d${i}/commands/#`, 'k', i);
tree.set('devices/+/telemetry', 'k', 1);
measure('match, remembered', 500_000, (i) => {
  tree.match(pick(telemetry, i).topic);
});
const many = Array.from({ length: 60_000 }, (_, i) => `devices/d${i}/telemetry`);
measure('match, from the trie (more topics than are remembered)', 200_000, (i) => {
  tree.match(many[i % many.length] ?? '');
});
const durable = await queues(100_000);
measure('queues: 1,000 topics, none of 100,000 durable sessions wants one', 500_000, (i) => {
  durable.targets(pick(commands, i));
});
measure('queues: each topic for 1 of 100,000 durable sessions', 500_000, (i) => {
  durable.targets(pick(telemetry, i));
});
const sharing = fleet(0, 0);
for (let i = 0; i < 100; i += 1) sharing.subscribe(subscriber(`s${i}`), '$share/g/#', options);
measure('shared: 1,000 topics, 1 of 100 members', 500_000, (i) => {
  sharing.publish(pick(telemetry, i));
});

const encoded = encodeMessage(pick(telemetry, 0));
measure('a message to bytes, for another worker', 200_000, (i) => {
  encodeMessage(pick(telemetry, i));
});
measure('a message from bytes', 200_000, () => {
  decodeMessage(encoded);
});
if (delivered === 0) throw new Error('nothing was delivered');
