"""What a ledger does beside writing: it is built, long rows get snapshots, old lines go."""
