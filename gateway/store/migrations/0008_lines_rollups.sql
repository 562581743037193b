-- The bill of each attempt, and what the ledger adds up to. A roll-up is derived: it can be thrown away and built anew.

ALTER TABLE attempts ADD COLUMN lines TEXT NOT NULL DEFAULT '';

ALTER TABLE attempts ADD COLUMN tier TEXT NOT NULL DEFAULT '';

-- Whose usage, of what: `grain` is `all` for rows with every column, `model` for those without key, owner and team.
-- `id` is a hash of the other columns, so that every process gives the same name to the same thing.
CREATE TABLE usage_dims (
  id BIGINT PRIMARY KEY,
  grain TEXT NOT NULL,
  tenant TEXT NOT NULL,
  team TEXT NOT NULL,
  owner TEXT NOT NULL,
  key TEXT NOT NULL,
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  target_model TEXT NOT NULL
);

CREATE INDEX usage_dims_by_tenant ON usage_dims (tenant, grain);

CREATE INDEX usage_dims_by_key ON usage_dims (key);

-- `span` is the number of the hour since 1970 (UTC).
CREATE TABLE usage_hours (
  dim BIGINT NOT NULL,
  span BIGINT NOT NULL,
  requests BIGINT NOT NULL,
  succeeded BIGINT NOT NULL,
  refused BIGINT NOT NULL,
  input BIGINT NOT NULL,
  output BIGINT NOT NULL,
  cached BIGINT NOT NULL,
  cache_write BIGINT NOT NULL,
  reasoning BIGINT NOT NULL,
  cost BIGINT NOT NULL,
  unpriced BIGINT NOT NULL,
  estimated BIGINT NOT NULL,
  duration_us BIGINT NOT NULL,
  ttfb_us BIGINT NOT NULL,
  answered BIGINT NOT NULL,
  PRIMARY KEY (dim, span)
);

CREATE INDEX usage_hours_by_span ON usage_hours (span);

-- `span` is the number of the day since 1970 (UTC).
CREATE TABLE usage_days (
  dim BIGINT NOT NULL,
  span BIGINT NOT NULL,
  requests BIGINT NOT NULL,
  succeeded BIGINT NOT NULL,
  refused BIGINT NOT NULL,
  input BIGINT NOT NULL,
  output BIGINT NOT NULL,
  cached BIGINT NOT NULL,
  cache_write BIGINT NOT NULL,
  reasoning BIGINT NOT NULL,
  cost BIGINT NOT NULL,
  unpriced BIGINT NOT NULL,
  estimated BIGINT NOT NULL,
  duration_us BIGINT NOT NULL,
  ttfb_us BIGINT NOT NULL,
  answered BIGINT NOT NULL,
  PRIMARY KEY (dim, span)
);

CREATE INDEX usage_days_by_span ON usage_days (span);

-- What was in the ledger before there were roll-ups is added up when the gateway starts.
INSERT INTO meta (name, value) SELECT 'rollups', 'missing' WHERE EXISTS (SELECT 1 FROM exchanges);
