-- Ready, but its function runs as many as it may.
ALTER TABLE invocations ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
DROP INDEX invocations_ready;
CREATE INDEX invocations_ready ON invocations (lane, rank, root_seq, seq)
    WHERE state = 0 AND due_ms IS NULL AND blocked_by IS NULL AND held = 0;
CREATE INDEX invocations_held ON invocations (function, rank, root_seq, seq)
    WHERE state = 0 AND held = 1;
