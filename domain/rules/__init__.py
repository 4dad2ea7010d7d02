"""Rules, each set a small module: which events a version knows, and what they do to a row."""
