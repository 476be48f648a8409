"""`python -m elysia_chat.ui.cli` is `elysia-chat`."""

from elysia_chat.ui.cli import main

main()
