"""`make readme`: what the documents say, held against the service as it is."""
