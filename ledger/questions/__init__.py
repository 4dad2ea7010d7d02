"""What the ledger is asked: each answer is the fold of one prefix of the log, made by SQL."""
