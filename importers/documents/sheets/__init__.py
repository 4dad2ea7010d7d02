"""Tables of any program, such as CSV files, read by a map that says which column is what."""
