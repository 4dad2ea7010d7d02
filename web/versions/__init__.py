"""Versions beside each other: what a worker knows of them, and the door to the active one."""
