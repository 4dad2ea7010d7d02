"""Where a partition's rows rest: changelog, stores, and what follows them."""
