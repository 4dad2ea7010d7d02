"""A chain of shops that never was, and how its facts reach a worker or Kafka."""
