"""What the model learns from: the documentation corpus and two synthetic tasks over the context.

Register lines (`amber anchor: 4821`, asked for later in their own words) measure retrieval; repeated random tokens form
the induction heads that retrieval needs. A task gives `length` token ids and a loss weight for each of them.
"""
import json
import lzma
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

HERE = Path(__file__).resolve().parent
BOS = 0
ANSWER = 1.0  # loss weight of the digits of an answer, which is also how an evaluation finds them
ADJECTIVES = """amber brisk calm dusty eager faint giant humble icy jolly keen lucky merry noble olive proud quiet rapid
    silver tender upper vivid warm young zesty bitter cosmic dark early frozen""".split()
NOUNS = """anchor basket candle dragon engine forest garden hammer island jacket kettle ladder mirror needle orange pencil
    rabbit saddle temple umbrella violin window yellow zebra bottle castle desert falcon glacier harbor""".split()


def tokenizer():
    return Tokenizer.from_file(str(HERE / "tokenizer.json"))


def corpus(tok, name):
    """Token ids, int32, of every document of corpus/`name`.jsonl.xz, each after one BOS."""
    with lzma.open(HERE / "corpus" / f"{name}.jsonl.xz", "rt") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    ids = []
    for i in range(0, len(texts), 256):
        for encoding in tok.encode_batch(texts[i:i + 256]):
            ids.append(BOS)
            ids.extend(encoding.ids)
    return np.array(ids, dtype=np.int32)


def documentation(ids, length, rng):
    """A random window of the corpus."""
    start = rng.randrange(len(ids) - length)
    return ids[start:start + length].tolist(), [1.0] * length


def registers(tok, length, rng):
    """Register lines over the first 55 % of the sequence, then questions about them to its end."""
    ids, weights, facts = [BOS], [0.0], {}

    def append(text_ids, text_weights):
        ids.extend(text_ids)
        weights.extend(text_weights)

    while len(facts) < 800:
        key = f"{rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}"
        if key in facts:
            continue
        value = "".join(rng.choice("0123456789") for _ in range(4))
        line = tok.encode(f"{key}: {value}\n").ids
        if len(ids) + len(line) > length * 0.55:
            break
        facts[key] = value
        append(line, [0.1] * len(line))
    heading = tok.encode("Questions\n").ids
    append(heading, [0.1] * len(heading))
    keys = list(facts)
    while True:
        key = rng.choice(keys)
        question, line = len(tok.encode(f"{key}:").ids), tok.encode(f"{key}: {facts[key]}\n").ids
        if len(ids) + len(line) > length:
            break
        append(line, [0.1] * question + [ANSWER] * (len(line) - question - 1) + [0.1])
    padding = length - len(ids)
    append([BOS] * padding, [0.0] * padding)
    return ids, weights


def repeated(vocab, length, rng):
    """Random tokens repeated to the end; the first pass cannot be predicted and weighs little."""
    period = rng.randrange(length // 8, length // 2)
    once = [rng.randrange(1, vocab) for _ in range(period)]
    ids = [BOS] + (once * (length // period + 1))[:length - 1]
    return ids, [0.0] + [0.05] * period + [1.0] * (length - 1 - period)
