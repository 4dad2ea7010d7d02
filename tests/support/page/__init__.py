"""The page in a browser, and workers of paper that answer it."""
