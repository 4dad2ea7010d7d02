"""The page at `/`: files for a browser, which asks the public calls of this very worker."""
