"""What the stock must be: read from the log by code that shares nothing with the service."""
