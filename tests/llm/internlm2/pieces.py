"""A tiny sentencepiece model of InternLM2's kind, trained on the spot."""

import io
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

TEXTS = [
    "爱莉希雅是逐火十三英桀的第二位，刻印是真我。",
    "她在往世乐土里等着每一位来访者，也爱着每一个人……",
    "The lighthouse keeper wrote three letters and sent none of them.",
    "    On Mondays the ferry goes at nine,  and on Saturdays it goes at ten.",
    "def greet(name):\n    return f'hello {name}'\n",
] * 3
PLACEHOLDERS = [f"[UNUSED_TOKEN_{number}]" for number in range(147)]
USER_DEFINED = ["Ｅ", "……"]


def train(path: Path, size: int = 560, **changes: object) -> Path:
    """Write a `tokenizer.model` whose last pieces are the placeholders of control tokens."""
    made = io.BytesIO()
    settings = {
        "model_type": "bpe",
        "vocab_size": size - len(PLACEHOLDERS) - len(USER_DEFINED),
        "byte_fallback": True,
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "normalization_rule_name": "identity",
        "allow_whitespace_only_pieces": True,
        "hard_vocab_limit": False,
        "minloglevel": 2,
        "num_threads": 1,
    }
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=made, **{**settings, **changes}
    )
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(made.getvalue())
    there = {piece.piece for piece in model.pieces}
    for text in [*USER_DEFINED, *PLACEHOLDERS]:
        if text not in there:
            model.pieces.add(piece=text, score=0.0, type=model.SentencePiece.USER_DEFINED)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def processor(path: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(path))
