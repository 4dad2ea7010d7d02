"""Every fact as Parquet, followed live."""
