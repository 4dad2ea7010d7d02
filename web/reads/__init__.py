"""Questions: parse, ask the right worker, answer."""
