"""The facts of a run: their stream, their way into Kafka, and the rows they must give."""
