/**
 * Connections to the listeners without client certificates: a bounded number, and of them of each source. When there is no
 * place left, the network that has most of those that have proven nothing yet loses its oldest to one that has fewer: strangers
 * who say nothing keep no device out. Whoever has proven who it is keeps its place.
 */
import { networkOf, sourceOf } from '../../common/base/source-network.ts';
import type { LimitsDocument } from '../../common/config/policy-document.ts';
import { HalfOpen } from '../transport/half-open.ts';

type PlaceLimits = Pick<LimitsDocument, 'signedConnections' | 'sourceSignedConnections'>;

export class SignedPlaces {
  readonly #limits: () => PlaceLimits;
  readonly #perSource = new Map<string, number>();
  readonly #unproven = new HalfOpen<SignedPlace>();
  #taken = 0;

  constructor(limits: () => PlaceLimits) {
    this.#limits = limits;
  }

  /**
   * @param onDisplaced its place is somebody else's now, and the connection MUST be ended.
   * @returns undefined when there is no place.
   */
  take(address: string, onDisplaced: () => void): SignedPlace | undefined {
    const { signedConnections, sourceSignedConnections } = this.#limits();
    const source = sourceOf(address);
    const open = this.#perSource.get(source) ?? 0;
    if (open >= sourceSignedConnections) return undefined;
    const place = new SignedPlace(this, address, onDisplaced);
    const isFull = this.#taken >= signedConnections;
    // All of them have proven who they are.
    if (isFull && this.#unproven.size === 0) return undefined;
    const capacity = isFull ? this.#unproven.size : Number.POSITIVE_INFINITY;
    const gone = this.#unproven.add(networkOf(address), place, capacity);
    if (gone === place) return undefined;
    this.#taken += 1;
    this.#perSource.set(source, open + 1);
    gone?.displaced();
    return place;
  }

  /** For `SignedPlace`. */
  proven(place: SignedPlace): void {
    this.#unproven.delete(networkOf(place.address), place);
  }

  /** For `SignedPlace`. */
  left(place: SignedPlace): void {
    this.#unproven.delete(networkOf(place.address), place);
    this.#taken -= 1;
    const source = sourceOf(place.address);
    const left = (this.#perSource.get(source) ?? 1) - 1;
    if (left > 0) this.#perSource.set(source, left);
    else this.#perSource.delete(source);
  }
}

export class SignedPlace {
  readonly address: string;
  readonly #places: SignedPlaces;
  readonly #onDisplaced: () => void;
  #isLeft = false;

  constructor(places: SignedPlaces, address: string, onDisplaced: () => void) {
    this.#places = places;
    this.address = address;
    this.#onDisplaced = onDisplaced;
  }

  /** Its peer has proven who it is. */
  proven(): void {
    if (!this.#isLeft) this.#places.proven(this);
  }

  /** Any number of times. */
  leave(): void {
    if (this.#isLeft) return;
    this.#isLeft = true;
    this.#places.left(this);
  }

  /** For `SignedPlaces`. */
  displaced(): void {
    this.leave();
    this.#onDisplaced();
  }
}
