"""Rows of any table, over HTTP: one by its key, and the largest of all."""
