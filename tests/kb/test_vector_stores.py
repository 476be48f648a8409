"""LangChain's own tests of vector stores, for each of ours."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from elysia_chat.kb.chroma import open_folder, open_server
from elysia_chat.kb.vectors import MemoryVectors

pytestmark = pytest.mark.filterwarnings("ignore:The test .* is marked with '@pytest.mark.asyncio':pytest.PytestWarning")


@pytest.mark.asyncio
class TestMemoryVectors(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> Iterator[VectorStore]:
        return MemoryVectors(self.get_embeddings())


@pytest.mark.asyncio
class TestChromaFolder(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[VectorStore]:
        store = open_folder(tmp_path, "eden", self.get_embeddings(), "test")
        yield store
        store.close()


@pytest.mark.asyncio
class TestChromaServer(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, chroma_server: tuple[str, int]) -> Iterator[VectorStore]:
        host, port = chroma_server
        store = open_server(host, port, False, uuid.uuid4().hex, self.get_embeddings(), "test")
        yield store
        store.close()
