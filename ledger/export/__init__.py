"""The ledger as Parquet files: for whoever asks what SQL on a live ledger should not be asked."""
