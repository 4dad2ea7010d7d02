"""Requests of Kafka that its client does not speak yet, in versions it does not know."""
