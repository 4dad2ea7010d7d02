"""What is true of any fold: pure, knows nothing of stock, Kafka or disks."""
