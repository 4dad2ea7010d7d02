"""Runs the real Apache Kafka, and brings it: brokers, Java, jars, MirrorMaker."""

from dev.kafka.broker import free_port
from dev.kafka.cluster import Kafka, start
from dev.kafka.java import KafkaUnavailable

__all__ = ["Kafka", "KafkaUnavailable", "free_port", "start"]
