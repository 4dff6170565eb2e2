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
  `
  -- The last time that a device was found to be used from two addresses.
  CREATE TABLE clones (
    principal TEXT    NOT NULL PRIMARY KEY REFERENCES identities (name),
    at        INTEGER NOT NULL,
    address   TEXT    NOT NULL,
    other     TEXT    NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
  `
  CREATE TABLE enrolment_tokens (
    number       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    token_sha256 TEXT    NOT NULL UNIQUE,
    -- A principal; NULL = any device that does not exist yet.
    device       TEXT,
    uses         INTEGER NOT NULL CHECK (uses > 0),
    uses_left    INTEGER NOT NULL CHECK (uses_left BETWEEN 0 AND uses),
    withdrawn    INTEGER NOT NULL DEFAULT 0 CHECK (withdrawn IN (0, 1)),
    created_at   INTEGER NOT NULL,
    created_by   TEXT    NOT NULL,
    expires_at   INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX enrolment_tokens_by_expiry ON enrolment_tokens (expires_at);

  -- What waits for an operator, and what has been decided and not been fetched.
  CREATE TABLE enrolment_requests (
    number      INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    credential  TEXT    NOT NULL,
    principal   TEXT    NOT NULL,
    role        TEXT    NOT NULL,
    spki_sha256 TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('waiting', 'approved', 'denied')),
    decided_by  TEXT,
    reason      TEXT,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    UNIQUE (credential, principal, spki_sha256)
  ) STRICT;

  -- Which manufacturer's certificate (SHA-256 of its key, hex) a device enrolled with: no other brings it back.
  CREATE TABLE manufactured (
    principal    TEXT    NOT NULL PRIMARY KEY REFERENCES identities (name),
    manufacturer TEXT    NOT NULL,
    spki_sha256  TEXT    NOT NULL,
    at           INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- The newest revocation list that was taken from each source of a trust anchor: none that is older is taken again.
  CREATE TABLE crl_seen (
    anchor        TEXT    NOT NULL,
    source        TEXT    NOT NULL,
    authority_key TEXT    NOT NULL,
    -- Decimal: of up to twenty octets.
    number        TEXT    NOT NULL,
    this_update   INTEGER NOT NULL,
    sha256        TEXT    NOT NULL,
    PRIMARY KEY (anchor, source)
  ) STRICT, WITHOUT ROWID;

  -- Certificates that vanished from the list of their authority and stay revoked here.
  CREATE TABLE crl_kept (
    anchor TEXT    NOT NULL,
    serial TEXT    NOT NULL,
    since  INTEGER NOT NULL,
    PRIMARY KEY (anchor, serial)
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- The revocation lists that somebody may still use, and the newest one of each CA.
  CREATE TABLE crls (
    issuer      TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    -- A number is spent before its list is signed. A list is issued on schedule, or because something was revoked.
    state       TEXT    NOT NULL DEFAULT 'reserved' CHECK (state IN ('reserved', 'scheduled', 'prompt')),
    PRIMARY KEY (issuer, number)
  ) STRICT, WITHOUT ROWID;

  -- Certificates that the gateway has issued to itself, which belong to no principal.
  CREATE TABLE own_certificates (
    issuer    TEXT    NOT NULL,
    serial    TEXT    NOT NULL,
    not_after INTEGER NOT NULL,
    PRIMARY KEY (issuer, serial)
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- The subject key identifier of the CA that signed it, hex; empty for another anchor than our own.
  ALTER TABLE certificates ADD COLUMN issuer TEXT NOT NULL DEFAULT '';
  -- RFC 5280 section 5.3.1; 0 = unspecified.
  ALTER TABLE certificates ADD COLUMN reason_code INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX certificates_by_issuer ON certificates (anchor, issuer, not_after);
  `,
  `
  -- All that a revocation list is made of: without it, 100,000 entries are read from as many pages.
  CREATE INDEX certificates_revoked_by_issuer
    ON certificates (anchor, issuer, serial, not_after, revoked_at, reason_code) WHERE revoked_at IS NOT NULL;
  `,
  `
  -- What has been said about the certificate of an identity that ends last: to operators, and to the device. A step is
  -- days before the end; another certificate begins anew.
  CREATE TABLE expiry_notices (
    principal TEXT    NOT NULL PRIMARY KEY REFERENCES identities (name),
    not_after INTEGER NOT NULL,
    step      INTEGER,
    reminded  INTEGER
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- Which pairs of pins an operator was shown, and so may have built into firmware: base64 of SHA-256.
  CREATE TABLE pins_shown (
    role     TEXT    NOT NULL CHECK (role IN ('root', 'issuing', 'server')),
    current  TEXT    NOT NULL,
    next     TEXT    NOT NULL,
    shown_at INTEGER NOT NULL,
    PRIMARY KEY (role, current, next)
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- Keys with which principals sign. What has ended stays until it is removed: its names are not given again.
  CREATE TABLE registered_keys (
    principal   TEXT    NOT NULL REFERENCES identities (name),
    id          TEXT    NOT NULL,
    type        TEXT    NOT NULL CHECK (type IN ('derived', 'secret', 'public')),
    -- By which the same key is found again, hex: SHA-256 of a SubjectPublicKeyInfo, or of a secret a MAC that only control
    -- can make.
    fingerprint TEXT    UNIQUE,
    -- DER SubjectPublicKeyInfo, or the sealed secret; nothing of a derived key, and none of a secret that was revoked.
    material    BLOB,
    created_at  INTEGER NOT NULL,
    created_by  TEXT    NOT NULL,
    not_after   INTEGER,
    revoked_at  INTEGER,
    -- RFC 5280 section 5.3.1; 0 = unspecified.
    reason_code INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (principal, id)
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- The last good keys of each issuer of tokens: a JWK Set.
  CREATE TABLE issuer_keys (
    issuer     TEXT    NOT NULL PRIMARY KEY,
    url        TEXT    NOT NULL,
    keys       TEXT    NOT NULL,
    fetched_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  -- What the gateway signs tokens with: PKCS #8, sealed under the master key.
  CREATE TABLE signing_keys (
    purpose    TEXT    NOT NULL,
    kid        TEXT    NOT NULL,
    sealed     BLOB    NOT NULL,
    signs_from INTEGER NOT NULL,
    PRIMARY KEY (purpose, kid)
  ) STRICT, WITHOUT ROWID;

  -- Client assertions that were used and that somebody could send again.
  CREATE TABLE assertion_ids (
    client     TEXT    NOT NULL,
    id_sha256  TEXT    NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (client, id_sha256)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX assertion_ids_by_expiry ON assertion_ids (expires_at);
  `,
];
