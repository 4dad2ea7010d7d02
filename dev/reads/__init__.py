"""Reads stock through every worker, and judges each answer afterwards."""
