"""Commands of history: to keep it, and to ask for it."""
