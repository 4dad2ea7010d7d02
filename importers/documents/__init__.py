"""Documents that retailers send, read line by line: bytes in, lines out; one file a format."""
