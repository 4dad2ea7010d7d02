"""Facts by HTTP: what a worker takes of them, beside others."""
