"""Evaluation of a persona model in three steps that can run on different machines: prepare, answer, score."""
