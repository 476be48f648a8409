"""Answers computed with fixed shapes: one quick stream as a CUDA graph, or many at once in batches.

`static_engine` and `batching_engine` are the two engines; nothing here needs a GPU to be imported or tested.
"""
