"""Marks of tests that need what not every machine has."""

import importlib.util
import shutil

import pytest

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="the program espeak-ng is not installed")
needs_japanese = pytest.mark.skipif(
    importlib.util.find_spec("pyopenjtalk") is None, reason="the extra 'japanese' is not installed"
)
