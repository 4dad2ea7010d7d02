"""What came, told to those who follow it: facts from a ledger, rows from owners, by any worker."""
