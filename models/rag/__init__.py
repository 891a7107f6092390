"""The RAG database: embedded motions and captions, searched exactly."""
