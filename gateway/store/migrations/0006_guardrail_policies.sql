-- Guardrail policies that are made at run time, with every version that there was.

-- `tenant_id` is `*` for one that all tenants may use. `rules` is JSON, as under `guardrails: policies:` of the file.
CREATE TABLE guardrail_policies (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL,
  name TEXT NOT NULL,
  description TEXT NOT NULL,
  label TEXT NOT NULL,
  shadow_of TEXT,
  rules TEXT NOT NULL,
  created_by TEXT NOT NULL,
  created BIGINT NOT NULL,
  version BIGINT NOT NULL DEFAULT 1,
  updated BIGINT,
  UNIQUE (tenant_id, name)
);

CREATE TABLE guardrail_policy_versions (
  id TEXT PRIMARY KEY,
  policy TEXT NOT NULL,
  number BIGINT NOT NULL,
  tenant_id TEXT NOT NULL,
  name TEXT NOT NULL,
  description TEXT NOT NULL,
  label TEXT NOT NULL,
  shadow_of TEXT,
  rules TEXT NOT NULL,
  done TEXT NOT NULL,
  created_by TEXT NOT NULL,
  created BIGINT NOT NULL,
  UNIQUE (policy, number)
);
