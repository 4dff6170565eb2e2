/** Bytes of a body whose length nobody knew when its request was judged, charged as they come. */
import type { Deny } from './decision.ts';
import type { RateBucket, Subject } from './ports.ts';
import { largestCost, rateRefusal } from './rate-levels.ts';

export class BodyMeter {
  readonly #subject: Subject;
  readonly #buckets: readonly RateBucket[];
  readonly #largest: number;

  /** @param buckets `CompiledProxied.byteBuckets`. */
  constructor(subject: Subject, buckets: readonly RateBucket[]) {
    this.#subject = subject;
    this.#buckets = buckets;
    this.#largest = largestCost(buckets);
  }

  /**
   * To be called with the length of each piece before it is passed on; the next MUST wait until this is settled, so that
   * a question to another worker holds the sender back. @returns a refusal when it is too much: the request is over.
   */
  take(bytes: number): Deny | undefined | Promise<Deny | undefined> {
    const buckets = this.#buckets;
    if (buckets.length === 0) return undefined;
    // How the bytes come in pieces is chance, and in smaller ones these would have been too many as well.
    if (bytes > this.#largest) return rateRefusal(this.#subject, buckets, this.#largest);
    const taken = this.#subject.rates.take(buckets, bytes);
    if (taken === true) return undefined;
    return taken === false
      ? rateRefusal(this.#subject, buckets, bytes)
      : taken.then((passes) => (passes ? undefined : rateRefusal(this.#subject, buckets, bytes)));
  }
}
