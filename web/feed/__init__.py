"""What came, told to those who follow it: pages from a ledger, handed on by any worker."""
