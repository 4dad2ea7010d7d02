"""Facts: check, append, answer."""
