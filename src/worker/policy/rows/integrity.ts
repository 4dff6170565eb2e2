/**
 * Payload signature, clock window and replay, for routes that require them. No route of this version can, so no entry
 * point asks; the row keeps its place in the order.
 */
import type { Row } from '../row.ts';

export const integrityRow: Row = { name: 'integrity', codes: ['integrity'], cells: {} };
