/**
 * Devices for the simulator, enrolled as `device create` does it, with keys that stay in memory. An id of an earlier run
 * is the same device with one more certificate; one that an operator has taken out of service stays out.
 */
import { SallyportError } from '../common/base/errors.ts';
import type { ErrorCode } from '../common/base/errors.ts';
import type { DeviceIdentity } from '../device/link.ts';
import type { Gateway } from './gateway.ts';

/** Control writes each enrolment to the disk and tells the workers: more at once only wait there. */
const atOnce = 8;

export interface EnrolledFleet {
  /** In the order of their ids. */
  readonly identities: readonly DeviceIdentity[];
  /** Why the gateway would not enrol the others. */
  readonly refused: ReadonlyMap<ErrorCode, number>;
}

/**
 * @param enrolled called after each one with how many there are.
 * @param signal leaves out those that have not been asked for.
 * @throws SallyportError when the gateway cannot enrol anything: it is not running, its disk is full.
 */
export async function enrolFleet(
  gateway: Pick<Gateway, 'createLab'>,
  ids: readonly string[],
  enrolled: (count: number) => void,
  signal: AbortSignal,
): Promise<EnrolledFleet> {
  const found = new Map<string, DeviceIdentity>();
  const refused = new Map<ErrorCode, number>();
  const left = ids.values();
  const desk = async (): Promise<void> => {
    for (const id of left) {
      if (signal.aborted) return;
      try {
        const { privateKey, certificateChain, root } = await gateway.createLab(
          'device',
          id,
          undefined,
        );
        found.set(id, { id, privateKey, certificateChain, root });
        enrolled(found.size);
      } catch (error) {
        const code = refusalOf(error);
        if (code === undefined) throw error;
        refused.set(code, (refused.get(code) ?? 0) + 1);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, ids.length) }, desk));
  return { identities: ids.flatMap((id) => found.get(id) ?? []), refused };
}

/** What the gateway has against this one device; undefined when it is not about the device. */
function refusalOf(error: unknown): ErrorCode | undefined {
  if (!(error instanceof SallyportError)) return undefined;
  // The device would be told this at the door.
  if (error.code === 'wrong-standing') return 'standing';
  return error.code === 'already-exists' ? error.code : undefined;
}
