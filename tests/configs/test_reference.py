from elysia_chat.configs.reference import reference
from tests.conftest import REPOSITORY


def test_the_reference_is_what_the_schema_says():
    """After a change of the settings: python -m elysia_chat.configs.reference > docs/settings.md."""
    assert (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8") == reference()
