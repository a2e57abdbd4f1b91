#!/usr/bin/env python3
"""Print src/model/tables.rs: the integer tables of model set 2.

The output is part of the format version; this script is kept to say where the numbers come from, and a test holds the
tables by their digest. Nothing but the standard library is needed.
"""
from math import ceil, erf, log2, sqrt

SLOTS = 256
SYMBOLS = 15  # and the escape
CLASSES = 29
EXPONENT_MEANS = (0, 0.7, 1.1, 1.5, 2, 2.5, 3, 4, 6, 9)
PHASES = 8


def cdf(x, deviation):
    """Distribution function of a normal distribution about zero."""
    return 0.5 + 0.5 * erf(x / deviation / sqrt(2))


def integers(probabilities, least):
    """Frequencies that sum to SLOTS: none below `least` but the escape, which is last; every other one at least 1.

    Rounding is repaired where it costs the expected code length least.
    """
    total = sum(probabilities)
    p = [x / total for x in probabilities]
    used = [x >= least for x in p[:-1]] + [True]
    total = sum(x for x, u in zip(p, used) if u)
    p = [x / total if u else 0 for x, u in zip(p, used)]
    f = [max(1, round(x * SLOTS)) if u else 0 for x, u in zip(p, used)]
    while sum(f) < SLOTS:
        f[max((i for i in range(len(f)) if used[i]), key=lambda i: p[i] * log2((f[i] + 1) / f[i]))] += 1
    while sum(f) > SLOTS:
        f[min((i for i in range(len(f)) if f[i] > 1), key=lambda i: p[i] * log2(f[i] / (f[i] - 1)))] -= 1
    return f


def from_zero(f):
    """Symbols from 0 on: the number of those left out below, and the frequencies."""
    below = next(i for i, x in enumerate(f) if x)
    kept = f[below:SYMBOLS] + [0] * below + [f[SYMBOLS]]
    count = max(i for i in range(SYMBOLS) if kept[i]) + 1
    assert all(kept[:count]) and sum(kept) == SLOTS
    return below, kept


def value_class(k):
    """Class `k`: (deviation, raw bits, symbols below the middle one, frequencies)."""
    deviation = 0.25 * 2 ** (k / 4)
    raw_bits = max(0, ceil(log2(deviation / 2.4)))
    width = 1 << raw_bits
    firsts = [(i - 7) * width - (width // 2 if raw_bits else 0) - 0.5 for i in range(SYMBOLS)]
    p = [cdf(first + width, deviation) - cdf(first, deviation) for first in firsts]
    below, f = from_zero(integers(p + [max(1 - sum(p), 1e-5)], 1 / 1500))
    return deviation, raw_bits, 7 - below, f


def exponent_model(mean, phase):
    """Octaves of a normal distribution whose mean is `mean` deviations from zero, downwards from [1, 2)."""
    deviation = 2 ** (phase / PHASES) / (4 + mean)
    mean *= deviation
    tops = [2.0 ** (1 - i) for i in range(SYMBOLS + 1)]
    F = lambda x: cdf(x - mean, deviation)
    p = [F(a) - F(b) + F(-b) - F(-a) for a, b in zip(tops, tops[1:])]
    return from_zero(integers(p + [max(1 - sum(p), 1e-9)], 1 / 2000))[1]


def array(name, doc, rows, scope="super"):
    width = len(rows[0])
    lines = "".join(f"    {row},\n" for row in rows)
    return f"{doc}\npub({scope}) const {name}: [[u8; {width}]; {len(rows)}] = [\n{lines}];\n"


def main():
    classes = [value_class(k) for k in range(CLASSES)]
    print("//! The integer tables of model set 2. They are part of the format version: a change is a new set.")
    print("//!")
    print("//! Made by `models/make_tables.py`; each model's frequencies sum to 2^8.\n")
    print(array("VALUES", """/// Distributions of values about zero, narrow to wide: normal ones whose deviation is 0.25 times powers of 2^(1/4), in
/// symbols of as many values as the raw bits of their class say; the last one is an escape.""", [c[3] for c in classes]))
    print(array("VALUE_CLASSES", "/// Of each of these: the raw bits, and the number of symbols below the middle one.",
                [[c[1], c[2]] for c in classes], "crate"))
    print(array("EXPONENTS", """/// Distributions of `top - exponent`, and of an escape: octaves of normal distributions whose mean is 0, 0.7, 1.1, 1.5,
/// 2, 2.5, 3, 4, 6 and 9 deviations from zero; each at eight phases of its scale within an octave.""",
                [exponent_model(mean, phase) for mean in EXPONENT_MEANS for phase in range(PHASES)]), end="")


main()
