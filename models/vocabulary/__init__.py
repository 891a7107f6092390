"""What a library knows, in words."""
