"""Rows as they change, for those who follow them."""
