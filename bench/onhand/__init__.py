"""Onhand as a contestant, and the questions that only Onhand is asked."""
