"""Fold what Kafka delivers, in batches and in order."""
