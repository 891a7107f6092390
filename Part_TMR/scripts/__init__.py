"""Command lines of the retriever: train, test, search."""
