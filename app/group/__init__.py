"""How partitions come to this worker: all of Faust's private names."""
