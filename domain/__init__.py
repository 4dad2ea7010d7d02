"""What is true of stock: events, fold, lookup. Imports nothing of ours."""
