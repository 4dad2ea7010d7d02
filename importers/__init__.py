"""What comes from outside made into items: pure functions, no network, no files."""
