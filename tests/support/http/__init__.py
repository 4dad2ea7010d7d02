"""Who calls a worker, or is called by it, over HTTP and TLS."""
