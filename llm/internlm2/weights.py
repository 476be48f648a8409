"""InternLM2's weights to Llama's, tensor by tensor: memory holds one shard of the result at a time."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elysia_chat.llm.checkpoint_files import read_tensors, weight_files
from elysia_chat.llm.errors import ConversionError
from elysia_chat.llm.internlm2.config import heads_of
from elysia_chat.llm.internlm2.names import expected_shapes, renamed, split_rows, unpacked_names

if TYPE_CHECKING:
    import torch

SHARD_BYTES = 2_000_000_000
_ROTARY = ".rotary_emb.inv_freq"

Weights = Iterator[tuple[str, "torch.Tensor"]]


def convert_weights(
    source: Path,
    target: Path,
    config: Mapping[str, Any],
    *,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[float], None] = lambda _share: None,
) -> list[Path]:
    """Write the weights of an InternLM2 as those of a Llama.

    Args:
        source: folder with safetensors, or with pickled weights, of which nothing but tensors is read.
        target: folder to write safetensors into.
        config: of the Llama.
        shard_bytes: about how large a file may become; it is held in memory while it is made.
        progress: told the share of bytes read.

    Returns:
        The files that were written.

    Raises:
        ModelLoadError: a file is missing, cut off, or holds something else than weights.
        ConversionError: a tensor is missing, unknown, doubled, or of another shape than the configuration says.
    """
    wanted = expected_shapes(config)
    shards = _Shards(target, shard_bytes)
    for name, tensor in _converted(weight_files(source), config, progress):
        if name in shards.places:
            msg = f"The weights are damaged: {name} is there twice."
            raise ConversionError(msg)
        if name not in wanted:
            if name == "lm_head.weight" and config["tie_word_embeddings"]:
                continue
            msg = f"These are no plain weights of InternLM2: {name} is not one of them."
            raise ConversionError(msg)
        if tuple(tensor.shape) != wanted[name]:
            msg = f"The weights do not fit the configuration: {name} is {tuple(tensor.shape)}, not {wanted[name]}."
            raise ConversionError(msg)
        shards.put(name, tensor)
    missing = [name for name in wanted if name not in shards.places]
    if missing:
        msg = f"The weights are incomplete: {missing[0]} is missing, with {len(missing) - 1} others."
        raise ConversionError(msg)
    return shards.finish()


def _converted(files: list[Path], config: Mapping[str, Any], progress: Callable[[float], None]) -> Weights:
    heads = heads_of(config)
    total = sum(path.stat().st_size for path in files if path.is_file()) or 1
    done = 0
    for path in files:
        for name, tensor in read_tensors(path):
            done += tensor.nbytes
            packed = unpacked_names(name)
            if name.endswith(_ROTARY):
                continue
            if packed is None:
                yield renamed(name), tensor
            else:
                try:
                    parts = split_rows(tensor, heads)
                except ValueError as error:
                    msg = f"The weights do not fit the configuration: {name} has {error}."
                    raise ConversionError(msg) from error
                yield from zip(packed, parts, strict=True)
            progress(min(1.0, done / total))


class _Shards:
    """Writes tensors into files of about one size, and the index over them."""

    def __init__(self, folder: Path, size: int) -> None:
        self.places: dict[str, int] = {}
        self._folder = folder
        self._size = size
        self._open: dict[str, torch.Tensor] = {}
        self._bytes = 0
        self._total = 0
        self._count = 0

    def put(self, name: str, tensor: "torch.Tensor") -> None:
        if self._open and self._bytes + tensor.nbytes > self._size:
            self._write()
        self._open[name] = tensor.contiguous()
        self._bytes += tensor.nbytes
        self._total += tensor.nbytes
        self.places[name] = self._count

    def finish(self) -> list[Path]:
        """Write what is open, give the files their names, and write the index where there are several."""
        self._write()
        if self._count == 1:
            names = ["model.safetensors"]
        else:
            names = [f"model-{number:05d}-of-{self._count:05d}.safetensors" for number in range(1, self._count + 1)]
            content = {
                "metadata": {"total_size": self._total},
                "weight_map": {name: names[number] for name, number in sorted(self.places.items())},
            }
            index = self._folder / "model.safetensors.index.json"
            index.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        return [self._part(number).rename(self._folder / name) for number, name in enumerate(names)]

    def _write(self) -> None:
        from safetensors.torch import save_file

        # A pickled file's tensors may share memory, which safetensors refuses to write.
        held = {pointer.untyped_storage().data_ptr() for pointer in self._open.values()}
        if len(held) < len(self._open):
            self._open = {name: tensor.clone() for name, tensor in self._open.items()}
        save_file(self._open, self._part(self._count), {"format": "pt"})
        self._open, self._bytes = {}, 0
        self._count += 1

    def _part(self, number: int) -> Path:
        return self._folder / f"part-{number:05d}.safetensors"
