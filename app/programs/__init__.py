"""A worker for anybody's tables: what they count, and where their rows are read, is handed in."""
