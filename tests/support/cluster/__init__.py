"""Workers and programs as processes over a real Kafka, and the traffic that goes on meanwhile."""
