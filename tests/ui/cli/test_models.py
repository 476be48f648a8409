"""`models add`, `info` and `remove`."""

from pathlib import Path

import pytest

from elysia_chat.configs.paths import models_dir
from tests.llm.internlm2.test_adapter import train_like
from tests.llm.internlm2.test_convert import published
from tests.ui.cli.conftest import Command, parsed

NAME = "internlm2-chat-tiny"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return published(tmp_path / NAME)


def test_a_folder_is_added_described_and_removed(command: Command, source: Path):
    added = parsed(command("models", "add", str(source), "--json"))
    assert (added["name"], added["kind"], added["recipe"]) == (NAME, "model", "internlm2")
    assert command("personas", "list", "--set", added["setting"]).exit_code == 0
    listed = parsed(command("models", "list", "--json"))
    assert NAME in {model["name"] for model in listed["models"] if model["state"] == "ready"}
    told = parsed(command("models", "info", NAME, "--json"))
    assert (told["architecture"], told["chat_template"], told["source"]) == ("llama", True, str(source))
    assert [fit["format"] for fit in told["fits"]] == ["float32", "bfloat16", "8bit", "4bit"]
    gone = parsed(command("models", "remove", NAME, "--yes", "--json"))
    assert gone["name"] == NAME
    assert not (models_dir() / NAME).exists()


def test_in_words(command: Command, source: Path):
    added = command("models", "add", str(source), "--name", "mine")
    assert f"mine: model, 0 MB, in {models_dir() / 'mine'}" in added.stdout
    assert "Use it with --set 'model={kind: transformers, name: mine}'" in added.stdout
    assert "converting InternLM2 to Llama's form" in added.stderr
    told = command("models", "info", "mine").stdout
    assert "mine: llama, 0.1 million parameters in float32" in told
    assert f"source:        {source} (from InternLM2's form)" in told
    assert "4bit" in told


def test_an_adapter_is_added_and_listed(command: Command, source: Path, tmp_path: Path):
    train_like(tmp_path / "elysia", vocab_size=600)
    refused = command("models", "add", str(tmp_path / "elysia"))
    assert refused.exit_code == 1
    assert "which is not here: add that first" in refused.stderr
    command("models", "add", str(source))
    added = parsed(command("models", "add", str(tmp_path / "elysia"), "--json"))
    assert (added["kind"], added["base"], added["setting"]) == ("adapter", NAME, "model.adapter=elysia")
    (adapter,) = parsed(command("models", "list", "--json"))["adapters"]
    assert adapter["name"] == "elysia"
    assert f"for {NAME}" in command("models", "list").stdout
    told = command("models", "info", "elysia").stdout
    assert f"LoRA of rank 4 for {NAME}" in told
    assert "q_proj" in told


def test_an_added_model_and_adapter_answer(command: Command, tmp_path: Path):
    """The names that `models list` shows are those that the settings take."""
    published(tmp_path / NAME, max_position_embeddings=8192)
    train_like(tmp_path / "elysia", vocab_size=600)
    for folder in (tmp_path / NAME, tmp_path / "elysia"):
        assert command("models", "add", str(folder)).exit_code == 0
    tokens = []
    for adapter in ("elysia", "none"):
        chosen = f"model={{kind: transformers, name: {NAME}, adapter: {adapter}, device: cpu}}"
        words = ("ask", "hi", "--no-rag", "--set", chosen, "--set", "generation.max_new_tokens=8", "--json")
        tokens.append(parsed(command(*words))["answer"])
    assert tokens[0] != tokens[1]


def test_nothing_is_deleted_unasked(command: Command, source: Path):
    command("models", "add", str(source))
    refused = command("models", "remove", NAME)
    assert refused.exit_code == 1
    assert "would be deleted: say --yes" in refused.stderr
    assert (models_dir() / NAME).is_dir()


def test_what_is_not_there(command: Command):
    for words in (("info", "nothing"), ("remove", "nothing", "--yes")):
        refused = command("models", *words)
        assert refused.exit_code == 1
        assert "There is no model or adapter 'nothing'" in refused.stderr
    refused = command("models", "add", "nowhere")
    assert "There is no folder 'nowhere', and a name on a hub is written owner/name." in refused.stderr
