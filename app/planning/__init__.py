"""How large a deployment has to be, by a small model: pure arithmetic, nothing is asked."""
