"""`train search` on a tiny encoder, and its model in a search."""

from pathlib import Path

from tests.training.tiny_models import save_encoder
from tests.ui.cli.conftest import Command, parsed

SMALL = ["--steps", "2", "--batch", "2", "--negatives", "1", "--rank", "2"]


def test_a_reranker_is_made_and_can_be_named(command: Command, tmp_path: Path) -> None:
    base = save_encoder(tmp_path / "encoder")
    made = parsed(
        command("train", "search", "reranker", "--base", str(base), "--out", str(tmp_path / "out"), *SMALL, "--json")
    )
    assert made["task"] == "reranker"
    assert made["steps"] == 2
    found = parsed(command("search", "teapot", "-k", "1", "--set", f"retrieval.reranker={made['model']}", "--json"))
    assert 0.0 < found["passages"][0]["score"] < 1.0


def test_what_is_no_encoder_is_told_in_one_line(command: Command, tmp_path: Path) -> None:
    result = command("train", "search", "embedder", "--base", str(tmp_path), "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "holds no model" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
