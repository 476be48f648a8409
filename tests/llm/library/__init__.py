"""Tests of elysia_chat.llm.library."""
