"""What was found in a file, kept and told."""
