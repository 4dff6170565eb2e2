/** Keys for people: what they are called, of what kind, and when they end. */
import type { KeyView } from '../control/admin/ports.ts';
import { formatTable, formatTime } from './table.ts';

export function keyTable(keys: readonly KeyView[]): string {
  return formatTable(
    ['KEY', 'KEY ID', 'TYPE', 'ALGORITHM', 'ADDED', 'UNTIL', 'REVOKED', 'SHA-256'],
    keys.map((key) => [
      key.id,
      key.keyId,
      key.type,
      key.algorithm,
      formatTime(key.createdAt),
      formatTime(key.notAfter),
      formatTime(key.revokedAt),
      key.sha256 ?? '-',
    ]),
  );
}
