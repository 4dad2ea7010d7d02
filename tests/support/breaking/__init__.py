"""Faults, mishaps and nonsense: what is done to workers, disks, Kafka and connections."""
