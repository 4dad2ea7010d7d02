"""Kafka by aiokafka: the only room for its private names."""
