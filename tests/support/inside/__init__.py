"""Parts of a worker in the test's own process and in its hand."""
