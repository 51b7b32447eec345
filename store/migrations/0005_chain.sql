-- A hash chain over the audit trail: SHA-256 of the line before's value and of what
-- this line says (package audit). The lines that are there get theirs in the same
-- transaction (store/chain.go), a row at a time: the trail grows with what people
-- do, not with what is sold, and a hundred thousand lines take seconds. Card numbers
-- and keys that texts of others brought into a line are masked in it, because an
-- export shows lines as they were hashed.
ALTER TABLE audit ADD COLUMN chain BLOB NOT NULL DEFAULT x'';
