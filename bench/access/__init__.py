"""What it costs to ask who calls, and to speak TLS."""
