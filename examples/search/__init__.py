"""A search index of what is on hand, kept fresh by the feed of rows."""
