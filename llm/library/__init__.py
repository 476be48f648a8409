"""The models and adapters in the data folder: brought in, listed, described, removed.

`add.add` takes a name on a hub or a folder; `contents.entries` lists what is there; `describe.describe` says what a
model is and what it needs.
"""
