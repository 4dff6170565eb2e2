/** Every SQL statement of the registry, compiled once. */
import type { DatabaseSync } from 'node:sqlite';

const sql = {
  identity: 'SELECT * FROM identities WHERE name = ?',
  page: `SELECT * FROM identities WHERE name > ? AND name < ? AND (? IS NULL OR standing = ?)
    ORDER BY name LIMIT ?`,
  countByKind: `SELECT substr(name, 1, instr(name, '/') - 1) AS kind, count(*) AS n
    FROM identities GROUP BY 1`,
  allIdentities: 'SELECT * FROM identities',
  insertIdentity: `INSERT INTO identities
    (name, standing, resume_to, role, anchor, created_at, updated_at)
    VALUES (?, 'active', 'active', ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
  touch: 'UPDATE identities SET updated_at = ? WHERE name = ?',
  setStanding: `UPDATE identities
    SET standing = ?, resume_to = ?, standing_reason = ?, updated_at = ? WHERE name = ?`,
  setRole: 'UPDATE identities SET role = ?, updated_at = ? WHERE name = ?',
  markSeen: `UPDATE identities SET seen_at = ? WHERE name = ? AND coalesce(seen_at, 0) < ?`,
  certificate: 'SELECT * FROM certificates WHERE anchor = ? AND serial = ?',
  certificatesOf: `SELECT * FROM certificates WHERE principal = ?
    ORDER BY issued_at DESC, rowid DESC`,
  insertCertificate: `INSERT INTO certificates
    (anchor, serial, principal, spki_sha256, not_before, not_after, der, issued_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
  otherHolderOfKey: `SELECT principal FROM certificates
    WHERE spki_sha256 = ? AND principal <> ? LIMIT 1`,
  revokeCertificates: `UPDATE certificates SET revoked_at = ?, reason = ?
    WHERE principal = ? AND revoked_at IS NULL RETURNING anchor, serial, not_after`,
  revokedSerials: `SELECT anchor, serial FROM certificates
    WHERE revoked_at IS NOT NULL AND not_after >= ?`,
} as const;

type Name = keyof typeof sql;
export type Statements = Readonly<Record<Name, ReturnType<DatabaseSync['prepare']>>>;

export function prepareStatements(database: DatabaseSync): Statements {
  const prepared = Object.entries(sql).map(([name, text]) => [name, database.prepare(text)]);
  return Object.freeze(Object.fromEntries(prepared)) as Statements; // a statement for each name of the table above
}
