from tests.ui.cli.conftest import Command, parsed

REPLIES = "--set=model.replies=['In a teapot [1].', 'On the fifth.']"


def test_piped_lines_are_messages(command: Command):
    result = command("chat", REPLIES, input="Where does Mini live?\n\n她的生日呢？\n")
    assert (result.exit_code, result.stdout) == (0, "In a teapot [1].\nOn the fifth.\n")


def test_chat_as_json(command: Command):
    data = parsed(command("chat", REPLIES, "--json", input="Where does Mini live?\nAnd then?\n/exit\nnever read\n"))
    assert (data["persona"], data["rag"]) == ("mini", True)
    assert [(turn["question"], turn["answer"]) for turn in data["turns"]] == [
        ("Where does Mini live?", "In a teapot [1]."),
        ("And then?", "On the fifth."),
    ]
    assert data["turns"][0]["sources"][0]["cited"] is True


def test_sources_and_history_on_demand(command: Command):
    result = command("chat", REPLIES, input="/sources\n/history\nWhere does Mini live?\n/sources\n/history\n")
    assert "Nothing has been answered yet." in result.stderr
    assert "Nothing has been said yet." in result.stderr
    answer, sources = result.stdout.split("\n", 1)
    assert answer == "In a teapot [1]."
    assert sources.startswith("[1] ★ Mini\n    mini.md · ")
    assert result.stdout.endswith("> Where does Mini live?\nmini: In a teapot [1].\n")


def test_undo_and_reset(command: Command):
    lines = "one\ntwo\n/undo\n/history\n/reset\n/history\n/undo\n"
    result = command("chat", REPLIES, "--no-rag", input=lines)
    assert result.stdout.count("> one") == 1
    assert "> two" not in result.stdout
    assert "Forgotten: two" in result.stderr
    assert result.stderr.count("Nothing has been said yet.") == 2
    data = parsed(command("chat", REPLIES, "--no-rag", "--json", input="one\ntwo\n/undo\n"))
    assert [turn["question"] for turn in data["turns"]] == ["one"]


def test_change_of_persona_begins_anew(command: Command):
    lines = "one\n/persona\n/persona nobody\n/persona elysia\n/history\n"
    result = command("chat", REPLIES, "--no-rag", input=lines)
    assert "You talk with mini; there are: elysia, mini." in result.stderr
    assert "There is no persona 'nobody'" in result.stderr
    assert "Nothing has been said yet." in result.stderr
    data = parsed(command("chat", REPLIES, "--no-rag", "--json", input=lines))
    assert (data["persona"], data["turns"]) == ("elysia", [])


def test_unknown_commands_name_the_known_ones(command: Command):
    result = command("chat", "--no-rag", input="/nope\n/help\n/quit\nnever read\n")
    assert "There is no command /nope; known: /sources /history /undo /reset /persona /help /exit." in result.stderr
    assert "/sources" in result.stdout
    assert result.exit_code == 0


def test_a_message_that_fails_does_not_end_the_chat(command: Command):
    lines = f"{'long ' * 40}\nshort\n/undo\n"
    result = command("chat", REPLIES, "--no-rag", "--set", "chat.max_message_chars=100", "--json", input=lines)
    turns = parsed(result)["turns"]
    assert [turn.get("error", {}).get("type") for turn in turns] == ["MessageError"]
    assert "Forgotten: short" in result.stderr
    assert result.exit_code == 1
