"""From a message to an answer: prompts, the retrieval QA chain, conversations, and their evaluation."""
