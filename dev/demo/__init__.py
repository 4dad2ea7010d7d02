"""`make demo`: two workers, traffic, a kill, and every row compared."""
