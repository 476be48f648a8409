"""LangChain's own standard tests of chat models, over all of ours.

What is switched off, and why: none of our models calls tools, writes structured output or takes pictures; the embedded
one is too small for any of it, and a conversation uses none. One model cannot be exchanged for another within a call,
except at a server. Recorded network traffic (VCR) is not needed where the server is on the loopback interface.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from elysia_chat.llm.llama_cpp_chat import LlamaCppChatModel
from elysia_chat.llm.remote import RemoteChatModel
from elysia_chat.llm.scripted import ScriptedChatModel
from elysia_chat.llm.transformers_chat import TransformersChatModel

from . import openai_server, tiny

# The suite leaves the mark to the mode of pytest-asyncio; in strict mode its coroutines would not be run.
for _name, _test in inspect.getmembers(ChatModelIntegrationTests, inspect.iscoroutinefunction):
    if _name.startswith("test_"):
        pytest.mark.asyncio(_test)


@pytest.fixture(autouse=True, scope="module")
def server() -> Iterator[None]:
    with openai_server.parrot_server() as running:
        _Remote.url = running.url
        yield


class _TextOnly:
    """The properties by which the suites are told what a model does not do."""

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return False

    @property
    def supports_model_override(self) -> bool:
        return False


class _Scripted(_TextOnly):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ScriptedChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"replies": ("Hello, I am Elysia. How are you?",)}


class _Transformers(_TextOnly):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return TransformersChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"engine": tiny.engine(), "model_name": "tiny", "max_new_tokens": 30}

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        """The suite's, without those of a network (timeout, retries, key) and the second name of the longest answer."""
        return {"temperature": 0, "stop": []}


class _LlamaCpp(_Transformers):
    engine: Any = None

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _load(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        cls.engine = tiny.llama_cpp_engine(tmp_path_factory.mktemp("gguf"))

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return LlamaCppChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"engine": self.engine, "model_name": "tiny", "max_new_tokens": 30}


class _Remote(_TextOnly):
    url = "http://127.0.0.1:1/v1"

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return RemoteChatModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "base_url": self.url,
            "model": openai_server.MODEL,
            "api_key": openai_server.KEY,
            "default_headers": {"Connection": "close"},
            "stream_usage": True,
        }

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        """The suite's, without its key, which would take the place of the server's."""
        return {"temperature": 0, "max_tokens": 100, "timeout": 60, "stop": [], "max_retries": 2}

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "other"


class TestScriptedUnit(_Scripted, ChatModelUnitTests):
    pass


class TestScriptedIntegration(_Scripted, ChatModelIntegrationTests):
    pass


class TestTransformersUnit(_Transformers, ChatModelUnitTests):
    pass


class TestTransformersIntegration(_Transformers, ChatModelIntegrationTests):
    pass


class TestLlamaCppUnit(_LlamaCpp, ChatModelUnitTests):
    pass


class TestLlamaCppIntegration(_LlamaCpp, ChatModelIntegrationTests):
    pass


class TestRemoteUnit(_Remote, ChatModelUnitTests):
    pass


class TestRemoteIntegration(_Remote, ChatModelIntegrationTests):
    pass
