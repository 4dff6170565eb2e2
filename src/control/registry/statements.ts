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
  clone: 'SELECT * FROM clones WHERE principal = ?',
  markClone: `INSERT INTO clones (principal, at, address, other) VALUES (?, ?, ?, ?)
    ON CONFLICT (principal) DO UPDATE SET at = excluded.at, address = excluded.address,
      other = excluded.other`,
  certificate: 'SELECT * FROM certificates WHERE anchor = ? AND serial = ?',
  certificatesOf: `SELECT * FROM certificates WHERE principal = ?
    ORDER BY issued_at DESC, rowid DESC`,
  issuedAfter: `SELECT rowid AS row, * FROM certificates WHERE anchor = 'internal' AND rowid > ?
    ORDER BY rowid LIMIT ?`,
  issuedSince: 'SELECT count(*) AS n FROM certificates WHERE principal = ? AND issued_at > ?',
  insertCertificate: `INSERT INTO certificates
    (anchor, serial, principal, spki_sha256, not_before, not_after, der, issued_at, issuer)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
  adoptUnknownIssuer: `UPDATE certificates SET issuer = ? WHERE anchor = 'internal' AND issuer = ''`,
  lastExpiries: `SELECT issuer, max(not_after) AS last FROM certificates
    WHERE anchor = 'internal' GROUP BY issuer`,
  lastCertificates: `SELECT c.principal, c.anchor, c.serial, c.not_before, max(c.not_after) AS not_after
    FROM certificates c JOIN identities i ON i.name = c.principal
    WHERE c.principal > ? AND c.revoked_at IS NULL AND i.standing <> 'revoked'
    GROUP BY c.principal ORDER BY c.principal LIMIT ?`,
  compromisedKey: `SELECT 1 AS found FROM certificates
    WHERE spki_sha256 = ?1 AND revoked_at IS NOT NULL AND reason_code = ?2
    UNION ALL SELECT 1 FROM registered_keys
    WHERE fingerprint = ?1 AND revoked_at IS NOT NULL AND reason_code = ?2 LIMIT 1`,
  otherHolderOfKey: `SELECT principal FROM certificates WHERE spki_sha256 = ?1 AND principal <> ?2
    UNION ALL SELECT principal FROM registered_keys WHERE fingerprint = ?1 AND principal <> ?2
    LIMIT 1`,
  revokeCertificates: `UPDATE certificates SET revoked_at = ?, reason = ?, reason_code = ?
    WHERE principal = ? AND revoked_at IS NULL RETURNING anchor, serial, not_after`,
  revokeKeys: `UPDATE registered_keys
    SET revoked_at = ?, reason_code = ?, material = iif(type = 'secret', NULL, material)
    WHERE principal = ? AND revoked_at IS NULL`,
  withdrawTokens: 'UPDATE enrolment_tokens SET withdrawn = 1 WHERE device = ?',
  withdrawInvitations: 'DELETE FROM invitations WHERE principal = ?',
  withdrawApprovals: `UPDATE enrolment_requests
    SET state = 'denied', decided_by = 'revocation', reason = ?
    WHERE principal = ? AND state = 'approved'`,
  revokedSerials: `SELECT anchor, serial FROM certificates
    WHERE revoked_at IS NOT NULL AND not_after >= ?`,
} as const;

type Name = keyof typeof sql;
export type Statements = Readonly<Record<Name, ReturnType<DatabaseSync['prepare']>>>;

export function prepareStatements(database: DatabaseSync): Statements {
  const prepared = Object.entries(sql).map(([name, text]) => [name, database.prepare(text)]);
  return Object.freeze(Object.fromEntries(prepared)) as Statements; // a statement for each name of the table above
}
