"""InventoryTable: one RocksDB and one transaction per partition."""
