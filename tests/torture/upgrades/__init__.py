"""Versions that are switched while things go wrong, for long."""
