"""The table of docs/COMPATIBILITY.md, between two markers."""

import os

from common import Fail, read, write
from situations import SITUATIONS
from world import ROOT

PAGE = os.path.join(ROOT, "docs", "COMPATIBILITY.md")
BEGIN, END = "<!-- scripts/consumers --write: begin -->", "<!-- end -->"


def cell(answer):
    if not answer:
        return "empty"
    return ", ".join(answer) if isinstance(answer, list) else answer


def line(cells):
    return "| " + " | ".join(cells) + " |"


def table(rows):
    names = [name for name, _ in SITUATIONS]
    lines = [line(["consumer", "leader Service", *names]), "|" + "---|" * (len(names) + 2)]
    for row in rows:
        who = f"{row['consumer']} {row['version'].removeprefix('v')}"
        lines.append(line([who, row["service"], *(cell(row["answers"].get(name, "?")) for name in names)]))
    return lines


def parts():
    """The page before the table, the table, and what follows."""
    before, begin, rest = read(PAGE).partition(BEGIN + "\n")
    inside, end, after = rest.partition(END)
    if not begin or not end:
        raise Fail(f"{PAGE}: expected the lines {BEGIN} and {END}")
    return before + begin, inside.splitlines(), end + after


def write_lines(lines):
    before, _, after = parts()
    write(PAGE, before + "\n".join(lines) + "\n" + after, 0o644)


def rewrite(rows, consumers):
    """Replaces the lines of the consumers that ran; those of the others stay."""
    fresh = table(rows)
    ran = [row["consumer"] for row in rows]
    kept = [each for each in parts()[1][2:] if not any(each.startswith(f"| {name} ") for name in ran)]

    def place(text):
        return next((at for at, kind in enumerate(consumers) if text.startswith(f"| {kind.name} ")), len(consumers))

    write_lines(fresh[:2] + sorted(fresh[2:] + kept, key=place))


def missing(rows):
    """What the page does not say."""
    there = parts()[1]
    return [f"docs/COMPATIBILITY.md lacks {each}; run consumers --write" for each in table(rows) if each not in there]
