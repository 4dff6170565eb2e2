/** A worker without peers: for tests and benchmarks. */
import type { Crossing } from './ports.ts';

export function aloneCrossing(): Crossing {
  return {
    slot: 0,
    addInterest: () => {},
    dropInterest: () => {},
    addMember: () => {},
    dropMember: () => {},
    wanting: () => [],
    send: () => {},
    onMessage: () => {},
    onMember: () => {},
    onGap: () => {},
  };
}
