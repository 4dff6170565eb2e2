/** Many connections that are to end, a group at a time, so that an upgrade does not bring a fleet back as one herd. */

const steps = 20;

/** Does `act` for each of them: for all at once when `overMs` is 0, else in groups over that time. */
export async function inSteps<T>(
  all: readonly T[],
  overMs: number,
  act: (each: T) => void,
): Promise<void> {
  const size = overMs === 0 ? all.length : Math.max(1, Math.ceil(all.length / steps));
  for (let at = 0; at < all.length; at += size) {
    for (const each of all.slice(at, at + size)) act(each);
    if (overMs > 0) await new Promise<void>((resolve) => setTimeout(resolve, overMs / steps));
  }
}
