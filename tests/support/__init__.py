"""What tests build, feed, break and read with; nothing here is a test."""
