"""What an exported chat holds."""

import json

from langchain_core.documents import Document

from elysia_chat.ui.web.export import as_json, as_markdown, file_name
from elysia_chat.ui.web.sessions import Answer, Exchange, Session


def chat() -> Session:
    session = Session("en", "violet")
    passage = Document(
        "Moonflowers.", metadata={"document": "v.md", "title": "Violet", "heading": "Garden", "score": 0.9}
    )
    session.exchanges[:] = [
        Exchange("Where?\nAnd when?", [Answer(True, "Where?", "There [1].", (passage,), (1,))]),
        Exchange("Why?", [Answer(True, "Why?", "Lore.", ()), Answer(False, "Why?", "Guess.")]),
    ]
    return session


def test_markdown_quotes_questions_and_names_sources():
    assert as_markdown(chat(), "Violet") == (
        "# Violet\n\n> Where?\n> And when?\n\n**Violet**\n\nThere [1].\n\n- [1] Violet › Garden (v.md)\n\n"
        "> Why?\n\n**Violet (From lore)**\n\nLore.\n\n**Violet (No lore)**\n\nGuess.\n"
    )


def test_json_has_everything():
    data = json.loads(as_json(chat(), "Violet"))
    assert (data["persona"], data["name"], len(data["exchanges"])) == ("violet", "Violet", 2)
    (source,) = data["exchanges"][0]["answers"][0]["sources"]
    assert source == {
        "number": 1, "document": "v.md", "title": "Violet", "heading": "Garden", "position": None, "score": 0.9,
        "text": "Moonflowers.",
    }  # fmt: skip
    assert [answer["lore"] for answer in data["exchanges"][1]["answers"]] == [True, False]


def test_the_file_is_named_after_the_persona():
    assert file_name(chat(), "md").startswith("violet-2")
    assert file_name(chat(), "md").endswith(".md")
