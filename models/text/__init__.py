"""Text encoders: encoder (interface), minilm and published (networks and their files), store (cached features)."""
