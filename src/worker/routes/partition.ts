/**
 * Spools are cut into partitions, and each device's messages lie in one of them. A lane is a range of partitions that
 * is delivered with one request at a time: so a device's messages keep their order, and with as many lanes as the
 * settings allow requests, their bound holds over all workers without a word between them.
 */
import type { PrincipalName } from '../../common/base/principal.ts';

export const partitions = 256;

/** A range of partitions: `from` … `to` - 1. */
export interface LaneRange {
  readonly from: number;
  readonly to: number;
}

/** All workers MUST compute this alike, and always: what lies in a spool was put there with it. */
export function partitionOf(publisher: PrincipalName): number {
  // FNV-1a, and the finaliser of MurmurHash3, with which every character moves every bit.
  let hash = 0x811c_9dc5;
  for (let i = 0; i < publisher.length; i += 1) {
    hash = Math.imul(hash ^ publisher.charCodeAt(i), 0x0100_0193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
  return (hash ^ (hash >>> 16)) & (partitions - 1);
}

/** The ranges of as many lanes, 1 … 256, in order. */
export function laneRanges(lanes: number): readonly LaneRange[] {
  const start = (lane: number): number => Math.ceil((lane * partitions) / lanes);
  return Array.from({ length: lanes }, (_, lane) => ({ from: start(lane), to: start(lane + 1) }));
}

export function laneOf(partition: number, lanes: number): number {
  return Math.floor((partition * lanes) / partitions);
}

/**
 * Which worker delivers a lane. In turn, so that each worker has as many lanes as any other, give or take one; each spool
 * begins with another worker.
 */
export function ownerOf(spool: string, lane: number, slots: readonly number[]): number | undefined {
  let first = 0;
  for (let i = 0; i < spool.length; i += 1) first = (first * 31 + spool.charCodeAt(i)) >>> 0;
  return slots[(first + lane) % slots.length];
}
