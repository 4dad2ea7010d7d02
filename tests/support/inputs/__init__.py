"""Values, events, documents and sheets as tests need them."""
