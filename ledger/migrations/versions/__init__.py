"""One file for each step. SQLite keeps the tables of a step that failed: let it run again."""
