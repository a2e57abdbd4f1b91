"""Runs llama.cpp's converter on a model whose tokenizer it does not know by name; arguments as for the converter."""

import pathlib
import runpy
import sys

converter = pathlib.Path(sys.argv[1])
sys.path[:0] = [str(converter.parent), str(converter.parent / "gguf-py")]
sys.argv = sys.argv[1:]

from conversion import base  # noqa: E402

base.TextModel.get_vocab_base_pre = lambda *_: "qwen2"
runpy.run_path(str(converter), run_name="__main__")
