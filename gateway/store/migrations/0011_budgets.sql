-- Budgets as objects. `amount` is nano-dollars; `models`, `providers` and `thresholds` are JSON lists.

CREATE TABLE budgets (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL REFERENCES tenants (id),
  name TEXT NOT NULL,
  scope TEXT NOT NULL,
  scope_id TEXT NOT NULL,
  period TEXT NOT NULL,
  amount BIGINT NOT NULL,
  created BIGINT NOT NULL,
  since BIGINT NOT NULL,
  rolling BIGINT NOT NULL,
  action TEXT NOT NULL,
  tier_down_to TEXT,
  models TEXT,
  providers TEXT,
  thresholds TEXT NOT NULL,
  enabled BIGINT NOT NULL,
  platform BIGINT NOT NULL,
  created_by TEXT NOT NULL,
  version BIGINT NOT NULL DEFAULT 1,
  updated BIGINT
);

CREATE INDEX budgets_by_tenant ON budgets (tenant_id, created, id);
