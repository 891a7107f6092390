"""The retriever of ReMoMask: part-level motion encoder, text head, momentum contrast (BMM)."""
