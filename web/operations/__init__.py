"""Liveness, readiness, metrics, and who holds what."""
