"""What holds results to the log and to the contracts, and keeps what was measured."""
