"""What all workers with tables have in common, and what they are put together from."""
