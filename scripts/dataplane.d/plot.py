"""The failovers as dots, in an SVG: one row for each section and minSyncPeriod."""

import math

from report import groups, section

LEFT, WIDTH, ROW, TOP, RIGHT = 290, 600, 30, 64, 20
SHORTEST, LONGEST = 10, 3000
TICKS = [10, 20, 50, 100, 200, 500, 1000, 2000]
# Of a dot: zen-lead wrote first, the native controller did; the bare PATCH loop's are hollow.
FIRST, SECOND, INK, LINE = "#1f6fb4", "#d9661f", "#24292f", "#d0d7de"


def place(ms):
    share = math.log(min(max(ms, SHORTEST), LONGEST) / SHORTEST) / math.log(LONGEST / SHORTEST)
    return LEFT + WIDTH * share


def text(x, y, words, anchor="start", size=12):
    words = words.replace("&", "&amp;").replace("<", "&lt;").replace("`", "")
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}" fill="{INK}">{words}</text>'


def dot(row, period, y, number):
    color = FIRST if row["first"] else SECOND
    ours = row["writer"] == "zen-lead"
    # Spread a little, so that equal ones do not cover each other.
    x, y = place(row["seen"][period]["ms"]), y + (-6 if ours else 6) + number * 3 % 7 - 3
    fill = f'fill="{color}" fill-opacity="0.7"' if ours else f'fill="none" stroke="{color}" stroke-opacity="0.8"'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3.2 if ours else 2.6}" {fill}/>'


def legend():
    marks = [
        (FIRST, True, "zen-lead, wrote before the native controller"),
        (SECOND, True, "zen-lead, wrote after it"),
        (FIRST, False, "bare PATCH, before"),
        (SECOND, False, "bare PATCH, after"),
    ]
    parts, x = [], 14
    for color, full, words in marks:
        style = f'fill="{color}"' if full else f'fill="none" stroke="{color}"'
        parts += [f'<circle cx="{x}" cy="40" r="4" {style}/>', text(x + 9, 44, words)]
        x += 30 + 6.4 * len(words)
    return parts


def axis(bottom):
    parts = []
    for tick in TICKS:
        x = place(tick)
        label = f"{tick} ms" if tick < 1000 else f"{tick // 1000} s"
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" stroke="{LINE}"/>')
        parts.append(text(x, bottom + 16, label, "middle", 11))
    return parts


def svg(result):
    kinds = groups(result["rows"], section)
    count = len(kinds) * len(result["periods"])
    bottom = TOP + count * ROW + 4 * len(kinds)
    width, height = LEFT + WIDTH + RIGHT, bottom + 30
    title = "From the change of the pod until a new connection reaches the new leader, by kube-proxy's minSyncPeriod"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        text(14, 20, title, size=14),
        *legend(),
        *axis(bottom),
    ]
    y = TOP
    for (source, proxy), rows in kinds.items():
        parts.append(f'<line x1="14" y1="{y}" x2="{LEFT + WIDTH}" y2="{y}" stroke="{LINE}"/>')
        parts += [text(14, y + 20, source), text(14, y + 38, f"kube-proxy {proxy}")]
        for period in result["periods"]:
            parts.append(text(LEFT - 10, y + ROW / 2 + 4, period, "end"))
            parts += [dot(row, period, y + ROW / 2, number) for number, row in enumerate(rows)]
            y += ROW
        y += 4
    return "\n".join([*parts, "</svg>", ""])
