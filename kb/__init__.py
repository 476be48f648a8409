"""The knowledge base: personas with their cards and lore, embeddings, the index, and the retriever."""
