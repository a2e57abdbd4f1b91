"""A table of the lines that the engines printed: arguments are files of JSON lines."""

import json
import pathlib
import sys

COLUMNS = {"decode": "decode, tokens/s", "single": "one request", "prefill": "prefill", "batch_secs": "batch, s"}


def rows():
    for path in map(pathlib.Path, sys.argv[1:]):
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
        yield from lines or [{"engine": path.stem, "failed": "gave no result, see its log"}]


print("| | " + " | ".join(COLUMNS.values()) + " |\n|" + "---|" * (len(COLUMNS) + 1))
for row in rows():
    name = f"{row['engine']}, {row['mode']}" if "mode" in row else row["engine"]
    cells = [f"{row[key]:.1f}" if key in row else "-" for key in COLUMNS]
    if "failed" in row:
        cells[-1] = f"failed: {row['failed']}"
    print(f"| {name} | " + " | ".join(cells) + " |")
