/** The checks of one connection, bound once for each topic and kept until the policy changes. */
import type {
  Bound,
  ConnectFacts,
  MessageFacts,
  ProxiedFacts,
  Reach,
  StagedBound,
} from '../../policy/entry.ts';
import type { Policy } from '../../policy/policy.ts';
import type { Subject } from '../../policy/ports.ts';
import type { CompiledProxied } from '../../policy/proxied-routes.ts';

/** A device publishes to four topics. */
const boundTopics = 16;
const boundDeliveries = 64;
const boundRoutes = 16;

export class Checks {
  readonly #subject: Subject;
  readonly #policyToday: () => Policy;
  #policy: Policy;
  readonly #publish = new Map<string, Bound<MessageFacts>>();
  readonly #deliver = new Map<string, Bound<void>>();
  readonly #request = new Map<Reach, Bound<ConnectFacts>>();
  readonly #proxied = new Map<CompiledProxied, StagedBound<ProxiedFacts>>();

  constructor(subject: Subject, policyToday: () => Policy) {
    this.#subject = subject;
    this.#policyToday = policyToday;
    this.#policy = policyToday();
  }

  publish(topic: string): Bound<MessageFacts> {
    const policy = this.#today();
    return cached(this.#publish, topic, boundTopics, () =>
      policy.bind('publish', this.#subject, topic),
    );
  }

  request(reach: Reach): Bound<ConnectFacts> {
    const policy = this.#today();
    return cached(this.#request, reach, 2, () => policy.bind('request', this.#subject, reach));
  }

  /** @param route of today's policy, or of the one before it while a request of that is under way. */
  proxied(route: CompiledProxied): StagedBound<ProxiedFacts> {
    const policy = this.#today();
    return cached(this.#proxied, route, boundRoutes, () =>
      policy.bind('proxied', this.#subject, route),
    );
  }

  subscribe(filter: string): Bound<void> {
    return this.#today().bind('subscribe', this.#subject, filter);
  }

  /** Whether a message of this topic may be handed over now. */
  mayRead(topic: string): boolean {
    const policy = this.#today();
    const decision = cached(this.#deliver, topic, boundDeliveries, () =>
      policy.bind('deliver', this.#subject, topic),
    ).decide();
    // No row of this column asks elsewhere; one that did would have to hold the message back.
    return !(decision instanceof Promise) && decision.allowed;
  }

  #today(): Policy {
    const policy = this.#policyToday();
    if (policy !== this.#policy) {
      this.#policy = policy;
      this.#publish.clear();
      this.#deliver.clear();
      this.#request.clear();
      this.#proxied.clear();
    }
    return policy;
  }
}

function cached<K, V>(map: Map<K, V>, key: K, most: number, make: () => V): V {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  if (map.size >= most) map.clear();
  map.set(key, made);
  return made;
}
