-- Logged content names its owner as every other table does, and lists what is one's own quickly.

ALTER TABLE contents RENAME COLUMN owner TO owner_id;

CREATE INDEX contents_by_owner ON contents (owner_id, created, id);

CREATE INDEX contents_by_key ON contents (key_id, created, id);
