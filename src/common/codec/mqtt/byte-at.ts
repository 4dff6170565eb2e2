/** The byte at a position that the caller has checked to be in the buffer; 0 outside it. */
export function byteAt(buffer: Buffer, position: number): number {
  return buffer[position] ?? 0;
}
