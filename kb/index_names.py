"""What an index is called in Chroma, and what its users are told about it."""

import hashlib
import re


def collection_name(persona_name: str, fingerprint: str) -> str:
    """Return the name of a persona's collection under an embedding model, within Chroma's rules (a-z, 0-9, ., _, -)."""
    return f"{collection_prefix(persona_name)}{fingerprint}"


def collection_prefix(persona_name: str) -> str:
    """Return what all collections of a persona begin with."""
    readable = re.sub(r"[^a-z0-9]+", "-", persona_name.casefold()).strip("-")[:40] or "persona"
    return f"{readable}-{hashlib.sha256(persona_name.encode()).hexdigest()[:8]}-"


def damaged_message(persona_name: str, reason: str) -> str:
    """Return the line that says what to do about an index that cannot be read."""
    first_line = (reason.splitlines() or [""])[0].strip().rstrip(".")[:200]
    return (
        f"The index of '{persona_name}' cannot be read ({first_line}). "
        f"Build it again: elysia-chat ingest --persona {persona_name}"
    )
