"""Text encoders: tower (network), checkpoints (weights), tokenizer, encoder (interface), store (cached features)."""
