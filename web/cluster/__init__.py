"""Who is there, who holds what, and who answers."""
