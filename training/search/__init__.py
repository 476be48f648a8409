"""Training of the search: adapters that make the embedding model find better, and a reranker out of it."""
