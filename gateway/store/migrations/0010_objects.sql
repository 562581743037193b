-- What tenants keep at providers: responses, files, batches and the like, by the provider's own id. No content.

CREATE TABLE objects (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  provider TEXT NOT NULL,
  model TEXT NOT NULL DEFAULT '',
  parent TEXT NOT NULL DEFAULT '',
  key_id TEXT NOT NULL DEFAULT '',
  metered BIGINT NOT NULL DEFAULT 0,
  created BIGINT NOT NULL,
  PRIMARY KEY (tenant_id, id)
);

CREATE INDEX objects_by_id ON objects (id);

CREATE INDEX objects_by_kind ON objects (tenant_id, kind, provider, created, id);
