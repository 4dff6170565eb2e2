/** Waits for what MUST NOT reject, but no longer than that. */
export async function settledWithin(settled: Promise<unknown>, limitMs: number): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, limitMs);
  await Promise.race([settled, late]);
  clearTimeout(timer);
}
