-- What is searched is kept in lower case beside the order in which lists are read: one index answers both, and the
-- usual filters too.

ALTER TABLE users ADD COLUMN search TEXT NOT NULL DEFAULT '';

ALTER TABLE api_keys ADD COLUMN search TEXT NOT NULL DEFAULT '';

UPDATE users SET search = LOWER(name || ' ' || email);

UPDATE api_keys SET search = LOWER(name || ' ' || prefix);

DROP INDEX users_by_tenant;

DROP INDEX users_by_time;

DROP INDEX api_keys_by_tenant;

DROP INDEX api_keys_by_time;

CREATE INDEX users_by_tenant ON users (tenant_id, created, id, search);

CREATE INDEX users_by_time ON users (created, id, search);

CREATE INDEX users_by_external_id ON users (external_id, tenant_id);

CREATE INDEX api_keys_by_tenant ON api_keys (tenant_id, created, id, search, revoked_at, active, expires_at);

CREATE INDEX api_keys_by_time ON api_keys (created, id, search, revoked_at, active, expires_at);

CREATE INDEX api_keys_by_service_account ON api_keys (service_account_id);
