"""Language models as LangChain chat models: embedded, from a transformers folder, behind a server, or scripted.

`build.build_chat_model` makes one from settings. Nothing here loads torch before a model is built.
"""
