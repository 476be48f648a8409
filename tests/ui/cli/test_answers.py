from pathlib import Path

from tests.ui.cli.conftest import Command, parsed


def test_ask_as_json(command: Command):
    result = command("ask", "Where does Mini live?", "--json", "--set", "model.replies=['In a blue teapot [1].']")
    data = parsed(result)
    assert data["answer"] == "In a blue teapot [1]."
    assert (data["question"], data["persona"], data["rag"]) == ("Where does Mini live?", "mini", True)
    first = data["sources"][0]
    assert first == {
        "number": 1,
        "document": "mini.md",
        "title": "Mini",
        "heading": "",
        "text": "Mini lives in a blue teapot.",
        "score": first["score"],
        "cited": True,
    }
    assert 0 <= first["score"] <= 1
    assert [source["cited"] for source in data["sources"][1:]] == [False] * (len(data["sources"]) - 1)
    assert data["timings"]["total_s"] >= data["timings"]["first_token_s"] >= data["timings"]["retrieval_s"] > 0
    assert data["usage"]["input_tokens"] > data["usage"]["output_tokens"] > 0
    assert (data["refused"], data["stopped"], data["truncated"]) == (False, False, False)


def test_a_missing_index_is_built_first_and_said_so(command: Command):
    result = command("ask", "Where?", "--json")
    assert "Building the index of 'mini' first" in result.stderr
    assert parsed(result)["sources"]


def test_an_index_that_is_there_is_not_built_again(command: Command):
    on_disk = ("--set", "store.kind=chroma")
    assert command("ingest", *on_disk).exit_code == 0
    result = command("ask", "Where?", "--json", *on_disk)
    assert "Building" not in result.stderr
    assert parsed(result)["sources"]


def test_ask_without_lore(command: Command):
    result = command("ask", "Where?", "--no-rag", "--json")
    data = parsed(result)
    assert (data["sources"], data["rag"], data["timings"]["retrieval_s"]) == ([], False, None)
    assert "Building" not in result.stderr


def test_a_refusal_is_called_one(command: Command):
    data = parsed(command("ask", "Who?", "--json", "--set", "model.replies=['I do not know; my lore does not say.']"))
    assert data["refused"] is True


def test_ask_in_words(command: Command):
    result = command("ask", "Where?", "--set", "model.replies=['[b]In[/b] a teapot :smile: [1]']")
    answer, _, sources = result.stdout.partition("\n\n")
    # Neither rich's markup nor its emoji names may change what was said.
    assert answer == "[b]In[/b] a teapot :smile: [1]"
    assert sources.startswith("[1] ★ ")
    assert "Mini lives in a blue teapot." in sources


def test_an_answer_and_its_sources_cannot_command_the_terminal(command: Command, lore: Path):
    (lore / "trap.md").write_text("# Trap\x1b]0;owned\x07\n\nThe trap \x1b[2J\u202eis here.\n", encoding="utf-8")
    reply = '--set=model.replies=["\\e[31mred\\a\\r"]'
    result = command("ask", "Where is the trap?", reply)
    assert result.stdout.startswith("[31mred\n")
    assert not set("\x1b\x07\r\u202e") & set(result.output)


def test_search(command: Command):
    passages = parsed(command("search", "铃的生日", "-k", "1", "--json"))["passages"]
    assert [(p["document"], p["heading"], p["text"]) for p in passages] == [("铃.md", "生日", "铃的生日是五月三日。")]
    assert "cited" not in passages[0]
    shown = command("search", "铃的生日", "-k", "1").stdout
    assert "铃 › 生日" in shown
    assert "铃的生日是五月三日。" in shown
