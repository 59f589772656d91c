"""Embeddings by a torch model: the only room that knows torch."""
