"""What a disk says, and RocksDB of it, in our words."""
