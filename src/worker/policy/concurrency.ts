/** Requests under way, per identity and route, in this worker. They outlive a reload of the policy, as breakers do. */
import type { PrincipalName } from '../../common/base/principal.ts';

export class Concurrency {
  readonly #underWay = new Map<string, number>();

  /** Identities and routes with a request under way. */
  get size(): number {
    return this.#underWay.size;
  }

  /**
   * @param key of `concurrencyKey`, made once: to put it together for each request would cost as much as all the rest.
   * @returns false when `most` are under way already, or the request is over.
   */
  enter(place: Place, key: string, most: number): boolean {
    const underWay = this.#underWay.get(key) ?? 0;
    if (underWay >= most || !place.take(this, key)) return false;
    this.#underWay.set(key, underWay + 1);
    return true;
  }

  /** For `Place` alone. */
  left(key: string): void {
    const underWay = (this.#underWay.get(key) ?? 0) - 1;
    if (underWay > 0) this.#underWay.set(key, underWay);
    else this.#underWay.delete(key);
  }
}

export function concurrencyKey(route: string, principal: PrincipalName): string {
  return `${route}\n${principal}`;
}

/**
 * One request's place among those of its identity. The listener makes one for each request, and MUST leave it when the
 * request is over, however it ended: whether the policy has taken it is not the listener's to know.
 */
export class Place {
  #of: Concurrency | undefined;
  #key = '';
  #isLeft = false;

  /** For `Concurrency` alone. @returns false when it was taken or left before. */
  take(of: Concurrency, key: string): boolean {
    if (this.#isLeft || this.#of !== undefined) return false;
    this.#of = of;
    this.#key = key;
    return true;
  }

  leave(): void {
    if (this.#isLeft) return;
    this.#isLeft = true;
    this.#of?.left(this.#key);
  }
}
