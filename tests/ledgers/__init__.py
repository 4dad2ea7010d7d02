"""For the tests of the ledger: databases, logs without Kafka, a second process."""
