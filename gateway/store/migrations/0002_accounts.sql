-- Teams, sessions, service accounts, the audit; objects get versions. Lists are JSON, as are `scopes` and `detail`.

ALTER TABLE tenants ADD COLUMN providers TEXT;
ALTER TABLE tenants ADD COLUMN guardrail_policy TEXT;
ALTER TABLE tenants ADD COLUMN logging TEXT NOT NULL DEFAULT 'off';
ALTER TABLE tenants ADD COLUMN time_zone TEXT NOT NULL DEFAULT 'UTC';
ALTER TABLE tenants ADD COLUMN audit_days BIGINT;
ALTER TABLE tenants ADD COLUMN content_days BIGINT;
ALTER TABLE tenants ADD COLUMN deleted BIGINT NOT NULL DEFAULT 0;
ALTER TABLE tenants ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE tenants ADD COLUMN updated BIGINT;

UPDATE users SET role = CASE role WHEN 'manager' THEN 'team_admin' WHEN 'user' THEN 'member' ELSE role END;

ALTER TABLE users ADD COLUMN requests_per_minute BIGINT;
ALTER TABLE users ADD COLUMN tokens_per_minute BIGINT;
ALTER TABLE users ADD COLUMN concurrency BIGINT;
ALTER TABLE users ADD COLUMN cost_daily BIGINT;
ALTER TABLE users ADD COLUMN cost_monthly BIGINT;
ALTER TABLE users ADD COLUMN models TEXT;
ALTER TABLE users ADD COLUMN content_access BIGINT NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN must_change BIGINT NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN last_login BIGINT;
ALTER TABLE users ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE users ADD COLUMN updated BIGINT;

CREATE INDEX users_by_tenant ON users (tenant_id, created, id);

CREATE INDEX users_by_time ON users (created, id);

CREATE TABLE teams (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL REFERENCES tenants (id),
  name TEXT NOT NULL,
  requests_per_minute BIGINT,
  tokens_per_minute BIGINT,
  concurrency BIGINT,
  cost_daily BIGINT,
  cost_monthly BIGINT,
  models TEXT,
  created BIGINT NOT NULL,
  version BIGINT NOT NULL DEFAULT 1,
  updated BIGINT,
  UNIQUE (tenant_id, name),
  UNIQUE (tenant_id, id)
);

-- Pairs with the tenant: nobody is in a team of another tenant.
CREATE TABLE team_members (
  team_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  tenant_id TEXT NOT NULL,
  created BIGINT NOT NULL,
  PRIMARY KEY (team_id, user_id),
  FOREIGN KEY (tenant_id, team_id) REFERENCES teams (tenant_id, id),
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
);

CREATE INDEX team_members_by_user ON team_members (user_id);

CREATE TABLE service_accounts (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL,
  team_id TEXT NOT NULL,
  name TEXT NOT NULL,
  role TEXT NOT NULL,
  active BIGINT NOT NULL,
  created BIGINT NOT NULL,
  version BIGINT NOT NULL DEFAULT 1,
  updated BIGINT,
  UNIQUE (team_id, name),
  FOREIGN KEY (tenant_id, team_id) REFERENCES teams (tenant_id, id)
);

CREATE TABLE admin_tokens (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL,
  service_account_id TEXT NOT NULL REFERENCES service_accounts (id),
  name TEXT NOT NULL,
  prefix TEXT NOT NULL,
  digest TEXT NOT NULL,
  scopes TEXT,
  created BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  revoked_at BIGINT,
  last_used BIGINT
);

CREATE INDEX admin_tokens_by_account ON admin_tokens (service_account_id);

ALTER TABLE api_keys ADD COLUMN service_account_id TEXT;
ALTER TABLE api_keys ADD COLUMN team_id TEXT;
ALTER TABLE api_keys ADD COLUMN scopes TEXT;
ALTER TABLE api_keys ADD COLUMN logging TEXT;
ALTER TABLE api_keys ADD COLUMN created_by TEXT;
ALTER TABLE api_keys ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE api_keys ADD COLUMN updated BIGINT;

CREATE INDEX api_keys_by_owner ON api_keys (owner_id);

CREATE INDEX api_keys_by_team ON api_keys (team_id);

CREATE TABLE sessions (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL,
  user_id TEXT NOT NULL REFERENCES users (id),
  digest TEXT NOT NULL,
  created BIGINT NOT NULL,
  last_used BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  address TEXT NOT NULL,
  agent TEXT NOT NULL,
  issuer TEXT,
  issuer_session TEXT
);

CREATE INDEX sessions_by_user ON sessions (user_id);

CREATE TABLE login_failures (
  name TEXT PRIMARY KEY,
  failures BIGINT NOT NULL,
  last BIGINT NOT NULL,
  until BIGINT NOT NULL
);

CREATE TABLE invitations (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL REFERENCES tenants (id),
  email TEXT NOT NULL,
  role TEXT NOT NULL,
  digest TEXT NOT NULL,
  created_by TEXT NOT NULL,
  created BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  used_at BIGINT
);

CREATE TABLE sso_identities (
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  tenant_id TEXT NOT NULL,
  user_id TEXT NOT NULL REFERENCES users (id),
  created BIGINT NOT NULL,
  PRIMARY KEY (issuer, subject)
);

-- `mac` chains the entries; one whose time is over keeps its place in the chain and loses its content.
CREATE TABLE audit (
  seq BIGINT PRIMARY KEY,
  id TEXT NOT NULL,
  ts_ms BIGINT NOT NULL,
  tenant TEXT NOT NULL,
  actor TEXT NOT NULL,
  actor_kind TEXT NOT NULL,
  actor_name TEXT NOT NULL,
  action TEXT NOT NULL,
  severity TEXT NOT NULL,
  resource_type TEXT NOT NULL,
  resource_id TEXT NOT NULL,
  address TEXT NOT NULL,
  agent TEXT NOT NULL,
  request_id TEXT NOT NULL,
  detail TEXT NOT NULL,
  digest TEXT NOT NULL,
  mac TEXT NOT NULL,
  pruned BIGINT NOT NULL
);

-- One row: the end of the chain, and the lock that writers of entries wait for.
CREATE TABLE audit_head (
  id BIGINT PRIMARY KEY,
  seq BIGINT NOT NULL,
  mac TEXT NOT NULL
);

INSERT INTO audit_head (id, seq, mac)
VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');

CREATE INDEX audit_by_tenant ON audit (tenant, seq);

CREATE INDEX audit_by_action ON audit (action, seq);

CREATE TABLE idempotency (
  name TEXT PRIMARY KEY,
  body TEXT NOT NULL,
  done BIGINT NOT NULL,
  status BIGINT NOT NULL,
  headers TEXT NOT NULL,
  answer TEXT,
  expires_at BIGINT NOT NULL
);
