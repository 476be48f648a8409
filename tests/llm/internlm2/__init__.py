"""Tests of elysia_chat.llm.internlm2."""
