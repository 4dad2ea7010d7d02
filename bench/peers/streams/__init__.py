"""Kafka Streams: a Maven project, and what starts it."""
