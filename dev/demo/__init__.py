"""`make demo`: two workers, traffic, a kill, every row compared; then a page with Kill buttons."""
