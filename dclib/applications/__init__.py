"""What sets are good for."""
