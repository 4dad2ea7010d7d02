"""The ceiling: aiokafka fetches, and nothing is done with the records."""
