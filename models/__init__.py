"""Networks and their configurations."""
