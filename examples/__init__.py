"""Programs on Onhand's tables, to read and to run."""
