"""Rows found by another part of their keys than the first."""
