"""What counts become, and what is taken back: decided before it is sent, and once."""
