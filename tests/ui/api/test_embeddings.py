"""Vectors, by OpenAI's own client and LangChain's."""

import base64
import struct

import httpx
import openai
import pytest
from langchain_openai import OpenAIEmbeddings
from pydantic import SecretStr

from elysia_chat.kb.fakes import HashEmbeddings

from .test_errors import refused

TEXTS = ["Violet grows moonflowers.", "紫罗兰种月光花。"]


def test_vectors_are_those_of_the_lore(client: openai.OpenAI):
    wanted = HashEmbeddings().embed_documents(TEXTS)
    # Unasked, the client sends for base64 and unpacks it.
    for fields in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
        done = client.embeddings.create(model="hash", input=TEXTS, **fields)
        assert [item.index for item in done.data] == [0, 1]
        for item, vector in zip(done.data, wanted, strict=True):
            given = item.embedding
            if fields.get("encoding_format") == "base64":
                given = struct.unpack(f"<{len(vector)}f", base64.b64decode(given))
            assert list(given) == pytest.approx(vector, abs=1e-6)


def test_one_text_is_one_vector(client: openai.OpenAI):
    (only,) = client.embeddings.create(model="hash", input=TEXTS[0], extra_body={"input_type": "query"}).data
    assert list(only.embedding) == pytest.approx(HashEmbeddings().embed_query(TEXTS[0]), abs=1e-6)


def test_langchain_embeds(url: str):
    embeddings = OpenAIEmbeddings(
        base_url=f"{url}v1", api_key=SecretStr("none"), model="hash", check_embedding_ctx_length=False
    )
    assert embeddings.embed_documents(TEXTS)[1] == pytest.approx(HashEmbeddings().embed_query(TEXTS[1]), abs=1e-6)


def test_what_cannot_be_embedded_is_refused(http: httpx.Client):
    def ask(**fields: object) -> httpx.Response:
        return http.post("v1/embeddings", json={"model": "hash", "input": "x", **fields})

    assert "'text-embedding-3-small' here; it is called hash" in refused(
        ask(model="text-embedding-3-small"), 404, "model_not_found"
    )
    assert "check_embedding_ctx_length" in refused(ask(input=[[1, 2]]), 400, "invalid_value")
    assert "none of them empty" in refused(ask(input=["x", " "]), 400, "invalid_value")
    assert "1 to 2048" in refused(ask(input=[]), 400, "invalid_value")
    assert ask(dimensions=64).status_code == 400
    assert ask(dimensions=256).status_code == 200
