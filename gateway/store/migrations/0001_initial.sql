-- Times are Unix milliseconds, costs nano-dollars, flags 0 or 1, `models` JSON lists.

CREATE TABLE tenants (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  active BIGINT NOT NULL,
  requests_per_minute BIGINT,
  tokens_per_minute BIGINT,
  concurrency BIGINT,
  cost_daily BIGINT,
  cost_monthly BIGINT,
  models TEXT,
  created BIGINT NOT NULL
);

CREATE TABLE users (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL REFERENCES tenants (id),
  email TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  role TEXT NOT NULL,
  status TEXT NOT NULL,
  password_hash TEXT,
  created BIGINT NOT NULL,
  UNIQUE (tenant_id, id)
);

-- The pair as foreign key: an owner is always of the key's own tenant.
CREATE TABLE api_keys (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL REFERENCES tenants (id),
  owner_id TEXT,
  name TEXT NOT NULL,
  prefix TEXT NOT NULL,
  digest TEXT NOT NULL,
  environment TEXT NOT NULL,
  active BIGINT NOT NULL,
  revoked_at BIGINT,
  expires_at BIGINT,
  requests_per_minute BIGINT,
  tokens_per_minute BIGINT,
  concurrency BIGINT,
  cost_daily BIGINT,
  cost_monthly BIGINT,
  models TEXT,
  created BIGINT NOT NULL,
  last_used BIGINT,
  FOREIGN KEY (tenant_id, owner_id) REFERENCES users (tenant_id, id)
);

CREATE INDEX api_keys_by_tenant ON api_keys (tenant_id, created, id);

CREATE INDEX api_keys_by_time ON api_keys (created, id);

-- The ledger keeps ids as text without references: a record of money outlives what it names.
CREATE TABLE exchanges (
  id TEXT PRIMARY KEY,
  ts_ms BIGINT NOT NULL,
  tenant TEXT NOT NULL,
  key TEXT NOT NULL,
  key_name TEXT NOT NULL,
  owner TEXT NOT NULL,
  environment TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  model TEXT NOT NULL,
  provider TEXT NOT NULL,
  target_model TEXT NOT NULL,
  outcome TEXT NOT NULL,
  http_status BIGINT NOT NULL,
  streamed BIGINT NOT NULL,
  input BIGINT NOT NULL,
  output BIGINT NOT NULL,
  cached BIGINT NOT NULL,
  cache_write BIGINT NOT NULL,
  reasoning BIGINT NOT NULL,
  estimated BIGINT NOT NULL,
  cost BIGINT NOT NULL,
  price_version TEXT NOT NULL,
  unpriced BIGINT NOT NULL,
  ttfb_us BIGINT,
  duration_us BIGINT NOT NULL,
  overhead_us BIGINT NOT NULL,
  error TEXT
);

CREATE INDEX exchanges_by_time ON exchanges (ts_ms, id);

CREATE INDEX exchanges_by_tenant ON exchanges (tenant, ts_ms, id);

CREATE TABLE attempts (
  exchange_id TEXT NOT NULL,
  n BIGINT NOT NULL,
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  outcome TEXT NOT NULL,
  status BIGINT NOT NULL,
  error TEXT,
  duration_us BIGINT NOT NULL,
  input BIGINT NOT NULL,
  output BIGINT NOT NULL,
  cached BIGINT NOT NULL,
  cache_write BIGINT NOT NULL,
  reasoning BIGINT NOT NULL,
  estimated BIGINT NOT NULL,
  cost BIGINT NOT NULL,
  PRIMARY KEY (exchange_id, n)
);

CREATE TABLE usage_daily (
  key_id TEXT NOT NULL,
  tenant_id TEXT NOT NULL,
  day TEXT NOT NULL,
  requests BIGINT NOT NULL,
  tokens BIGINT NOT NULL,
  cost BIGINT NOT NULL,
  PRIMARY KEY (day, key_id, tenant_id)
);

CREATE TABLE journal_positions (
  journal TEXT PRIMARY KEY,
  position BIGINT NOT NULL
);
