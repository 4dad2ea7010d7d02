"""Holds what is kept against the log it was made from: recount, compare, explain, prove."""
