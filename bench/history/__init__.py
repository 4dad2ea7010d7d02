"""What `bench/ledger.py` is made of: a log in memory, who writes it, who asks, who runs beside."""
