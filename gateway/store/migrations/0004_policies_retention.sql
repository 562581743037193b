-- Guardrail policies of teams and keys, what a rotated key was replaced by, and how long things are kept.

ALTER TABLE teams ADD COLUMN guardrail_policy TEXT;
ALTER TABLE api_keys ADD COLUMN guardrail_policy TEXT;
ALTER TABLE api_keys ADD COLUMN replaced_by TEXT;
ALTER TABLE tenants ADD COLUMN usage_days BIGINT;

-- Work that one process does at a time, whichever comes first: who has it, and until when.
CREATE TABLE leases (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  until BIGINT NOT NULL
);

CREATE INDEX audit_kept ON audit (tenant, ts_ms) WHERE pruned = 0;
