"""Single records: dead letters, and what became of a fact."""
