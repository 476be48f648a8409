"""The web page: a chat with a persona, its sources, and its lore. `launch.py` starts it."""
