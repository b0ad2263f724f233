"""Tables in Markdown, from the rows."""

import statistics

from common import Fail, read, write

MARKS = ["<!-- scripts/dataplane --write: {} -->", "<!-- end of {} -->"]

# A wait of this many milliseconds is one for the next sync, with a minSyncPeriod of a second.
AT_ONCE = 500


def line(cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def table(head, rows):
    return [line(head), "|" + "---|" * len(head), *map(line, rows)]


def times(rows, period):
    return sorted(row["seen"][period]["ms"] for row in rows)


def cell(rows, period):
    """The median and the longest, in milliseconds."""
    found = times(rows, period)
    return f"{statistics.median(found):,.0f}; {found[-1]:,.0f}" if found else ""


def spread(rows, period):
    found = times(rows, period)
    return f"{found[0]:,.0f} to {found[-1]:,.0f}" if found else ""


def section(row):
    batch = f", native batches {row['batch']}" if row["batch"] else ""
    return row["source"] + batch, row["proxy"]


def groups(rows, key):
    found = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


def share(rows):
    return f"{sum(row['first'] for row in rows)} of {len(rows)}"


def at_once(rows, period):
    """In how many the change of the leader's slice did not wait for the next sync; a busy kube-proxy always waits."""
    if rows[0]["proxy"] == "busy":
        return ""
    return f"{sum(one < AT_ONCE for one in times(rows, period))} of {len(rows)}"


def by_cell(result):
    """What a client waits, by source Service, state of kube-proxy, writer and way of the loss."""
    periods = result["periods"]
    head = ["source Service", "kube-proxy", "leader lost by", "writer", "wrote first", "in the first sync", *periods]
    body = []
    for (where, lost, writer), rows in groups(
        result["rows"], lambda row: (section(row), row["lost"], row["writer"])
    ).items():
        body.append([*where, lost, writer, share(rows), at_once(rows, periods[0]), *(cell(rows, period) for period in periods)])
    order = list(groups(result["rows"], section))
    body.sort(key=lambda cells: (order.index((cells[0], cells[1])), cells[3] != "zen-lead", cells[2] != "readiness"))
    return table(head, body)


def by_order(result):
    """The first section alone, by who wrote first."""
    periods = result["periods"]
    first = section(result["rows"][0])
    found = groups([row for row in result["rows"] if section(row) == first], lambda row: (row["writer"], row["first"]))
    body = []
    for writer, is_first in sorted(found, key=lambda key: (key[0] != "zen-lead", not key[1])):
        rows = found[writer, is_first]
        who = writer if is_first else "the native controller"
        body.append([writer, who, len(rows), *(spread(rows, period) for period in periods)])
    return table(["writer", "wrote first", "failovers", *periods], body)


def connects(result):
    """How many connects there were, and how many failed."""
    lines = []
    for lost, rows in groups(result["rows"], lambda row: row["lost"]).items():
        seen = [one for row in rows for one in row["seen"].values()]
        failed, of = (sum(one[key] for one in seen) for key in ("failed", "of"))
        lines.append(f"lost by {lost}: {failed:,} of {of:,} connects failed")
    return lines


def replace(path, name, lines):
    """Puts lines between the marks of a name."""
    begin, end = (mark.format(name) for mark in MARKS)
    before, found, rest = read(path).partition(begin + "\n")
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise Fail(f"{path}: expected the lines {begin} and {end}")
    write(path, f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}", 0o644)
