/** Freezes plain data and everything in it, so that nobody who shares it can change it for the others. */
export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const child of Object.values(value)) deepFreeze<unknown>(child);
  }
  return value;
}
