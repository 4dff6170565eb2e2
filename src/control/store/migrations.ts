/**
 * The schema of control's database, forward only: a step that has been released is never edited, the next one is added
 * below it. Times are milliseconds since 1970-01-01 UTC.
 */
export const migrations: readonly string[] = [
  `
  CREATE TABLE identities (
    name            TEXT    NOT NULL PRIMARY KEY,
    standing        TEXT    NOT NULL CHECK (standing IN ('active', 'suspended', 'quarantined', 'revoked')),
    -- What resume leads back to: a device that was quarantined when it was suspended stays in quarantine.
    resume_to       TEXT    NOT NULL CHECK (resume_to IN ('active', 'quarantined')),
    standing_reason TEXT,
    role            TEXT    NOT NULL,
    anchor          TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    -- What a worker claims; a number that JavaScript cannot hold would make the row unreadable.
    seen_at         INTEGER CHECK (seen_at BETWEEN 0 AND 9007199254740991)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE certificates (
    anchor      TEXT    NOT NULL,
    serial      TEXT    NOT NULL,
    principal   TEXT    NOT NULL REFERENCES identities (name),
    spki_sha256 TEXT    NOT NULL,
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    der         BLOB    NOT NULL,
    issued_at   INTEGER NOT NULL,
    revoked_at  INTEGER,
    reason      TEXT,
    PRIMARY KEY (anchor, serial)
  ) STRICT;
  CREATE INDEX certificates_by_principal ON certificates (principal);
  CREATE INDEX certificates_by_key ON certificates (spki_sha256);
  CREATE INDEX certificates_revoked ON certificates (not_after) WHERE revoked_at IS NOT NULL;

  -- One row: the newest audit line that is known to be in the file, and the one that is being written.
  CREATE TABLE audit_head (
    id           INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    seq          INTEGER NOT NULL,
    hash         TEXT    NOT NULL,
    pending_hash TEXT
  ) STRICT;
  `,
  `
  CREATE TABLE epoch (
    id    INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    value INTEGER NOT NULL
  ) STRICT;

  -- One row once somebody has been shown the one-time enrolment of the first operator.
  CREATE TABLE announced (id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1)) STRICT;

  CREATE TABLE invitations (
    token_sha256 TEXT    NOT NULL PRIMARY KEY,
    principal    TEXT    NOT NULL,
    expires_at   INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
];
