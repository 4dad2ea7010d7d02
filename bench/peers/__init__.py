"""The others: a folder each, with its `contestant.py` and what that runs."""
