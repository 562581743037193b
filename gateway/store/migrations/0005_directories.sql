-- What identity providers know people and groups by (SCIM), and what they want to see again at a sign-out (sealed).

ALTER TABLE users ADD COLUMN external_id TEXT;

ALTER TABLE teams ADD COLUMN external_id TEXT;

ALTER TABLE sessions ADD COLUMN issuer_hint TEXT;
