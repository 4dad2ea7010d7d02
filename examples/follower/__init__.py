"""A program beside Onhand that follows its feed and keeps its own sums."""
