"""The HTTP API: OpenAI's protocol for chat, speech and embeddings, over the same services as the page."""
