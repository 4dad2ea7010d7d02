"""How the schema came to be, step by step; run by `ledger/upgrade.py` at every start."""
