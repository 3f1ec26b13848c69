"""What a map gives back, and its outputs with names for their axes."""
