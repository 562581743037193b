-- Spending by team and user, provider credentials, logged content. What is `sealed` opens with the master secret only.

ALTER TABLE exchanges ADD COLUMN team TEXT NOT NULL DEFAULT '';

-- `kind` is team or user (or service account): `usage_daily` has the rest.
CREATE TABLE usage_spenders (
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  day TEXT NOT NULL,
  requests BIGINT NOT NULL,
  tokens BIGINT NOT NULL,
  cost BIGINT NOT NULL,
  PRIMARY KEY (day, kind, id)
);

-- `tenant_id` is `*` for a credential that serves all tenants.
CREATE TABLE credentials (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL,
  name TEXT NOT NULL,
  provider TEXT NOT NULL,
  sealed TEXT NOT NULL,
  last_four TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  created_by TEXT NOT NULL,
  created BIGINT NOT NULL,
  version BIGINT NOT NULL DEFAULT 1,
  updated BIGINT,
  UNIQUE (tenant_id, provider)
);

CREATE TABLE contents (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL,
  key_id TEXT NOT NULL,
  owner TEXT NOT NULL,
  model TEXT NOT NULL,
  created BIGINT NOT NULL,
  expires_at BIGINT,
  metadata TEXT NOT NULL,
  sealed TEXT
);

CREATE INDEX contents_by_tenant ON contents (tenant_id, created, id);

CREATE INDEX contents_by_time ON contents (created, id);

CREATE INDEX contents_by_end ON contents (expires_at);
