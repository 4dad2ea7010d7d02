"""What a connection brings before aiohttp sees it: TLS, and requests that are answered at once."""
