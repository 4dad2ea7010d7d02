"""Runs the real Apache Kafka, and brings it: brokers, Java, jars, MirrorMaker."""

from dev.kafka.broker import free_port
from dev.kafka.cluster import Kafka, learn_classes, start
from dev.kafka.java import KafkaUnavailable

__all__ = ["Kafka", "KafkaUnavailable", "free_port", "learn_classes", "start"]
