#!/usr/bin/env -S python3 -B
"""Draws the course of two autoscalers under one load, from a CSV, as an SVG.

    deploy/pictures/chart.py target/autoscaling/course.csv -o docs/pictures/autoscaling.svg

Columns: seconds, load_cpu_millicores, gantry_replicas, hpa_replicas, required. A cell may be empty: the line has a gap there. Colours follow the
light or dark mode of whoever looks. Needs nothing but Python.
"""

import argparse
import csv
import math
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 860, 56, 20
TOP, LOAD, GAP, COUNT, FOOT = 84, 88, 34, 262, 46
COLUMNS = ("seconds", "load_cpu_millicores", "gantry_replicas", "hpa_replicas", "required")
# Blue and orange differ for all kinds of colour vision; the required count is an area, so that no third colour is needed.
LIGHT = {"ground": "#ffffff", "text": "#1f2328", "quiet": "#59636e", "grid": "#d8dee4", "need": "#d5dae0", "edge": "#8c959f",
         "gantry": "#0969da", "hpa": "#c4560a"}
DARK = {"ground": "#0d1117", "text": "#e6edf3", "quiet": "#9198a1", "grid": "#2b323b", "need": "#2d343d", "edge": "#7d8590",
        "gantry": "#58a6ff", "hpa": "#f0883e"}


def read(lines):
    """The rows of a CSV as numbers, in the order of time; an empty cell is None."""
    table = csv.DictReader(lines)
    missing = [name for name in COLUMNS if name not in (table.fieldnames or [])]
    if missing:
        raise ValueError(f"the CSV has no column {', '.join(missing)}")
    rows = [tuple(float(row[name]) if row[name] else None for name in COLUMNS) for row in table]
    rows = [row for row in rows if row[0] is not None]
    if len(rows) < 2:
        raise ValueError("the CSV has fewer than two rows")
    return sorted(rows, key=lambda row: row[0])


def ticks(top, most=6):
    """Round numbers from 0 to at least `top`, no more than `most` steps."""
    top = top if top > 0 else 1
    for power in range(-3, 12):
        for digit in (1, 2, 5):
            step = digit * 10**power
            if top / step <= most:
                return [round(step * i, 6) for i in range(math.ceil(top / step) + 1)]
    raise ValueError(f"{top} is too large for a chart")


def step_path(points, x, y):
    """A line that goes along and then up: a count holds until it changes."""
    path, last = [], None
    for at, value in points:
        if value is None:
            last = None
        elif last is None:
            path.append(f"M{x(at):.1f} {y(value):.1f}")
            last = value
        elif value != last:
            path.append(f"H{x(at):.1f}V{y(value):.1f}")
            last = value
        if value is not None:
            end = x(at)
    if path:
        path.append(f"H{end:.1f}")
    return "".join(path)


def area(points, x, y):
    """The same with everything below it."""
    points = [(at, value or 0) for at, value in points]
    line = step_path(points, x, y)
    return f"{line}V{y(0):.1f}H{x(points[0][0]):.1f}Z"


def number(value):
    return f"{value:g}"


def clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def draw(rows, title, subtitle=""):
    """The SVG."""
    first, last = rows[0][0], rows[-1][0]
    column = lambda at: [(row[0], row[at]) for row in rows]
    largest = lambda *columns: max([row[at] or 0 for at in columns for row in rows])
    loads, counts = ticks(largest(1) / 1000, 3), ticks(largest(2, 3, 4))
    x = lambda at: LEFT + (at - first) / (last - first) * (WIDTH - LEFT - RIGHT)
    scale = lambda top, height, marks: lambda value: top + height - value / marks[-1] * height
    load_y = scale(TOP, LOAD, loads)
    count_y = scale(TOP + LOAD + GAP, COUNT, counts)
    bottom = TOP + LOAD + GAP + COUNT
    height = bottom + FOOT

    out = []
    text = lambda x, y, words, names="", anchor="start": out.append(
        f'<text x="{x:.1f}" y="{y:.1f}" class="{names}" text-anchor="{anchor}">{escape(words)}</text>')
    text(LEFT - 36, 28, title, "title")
    text(LEFT - 36, 48, subtitle, "quiet")
    for marks, y, name in ((loads, load_y, "load, CPUs in use"), (counts, count_y, "replicas")):
        for mark in marks:
            out.append(f'<path d="M{LEFT} {y(mark):.1f}H{WIDTH - RIGHT}" class="grid"/>')
            text(LEFT - 8, y(mark) + 4, number(mark), "quiet", "end")
        text(LEFT, y(marks[-1]) - 9, name, "quiet")
    seconds = next(step for step in (10, 15, 30, 60, 120, 300, 600, 1800, 3600, 10**9) if (last - first) / step <= 10)
    mark = math.ceil(first / seconds) * seconds
    while mark <= last:
        out.append(f'<path d="M{x(mark):.1f} {bottom}v5" class="axis"/>')
        text(x(mark), bottom + 20, clock(mark), "quiet", "middle")
        mark += seconds
    text(WIDTH - RIGHT, bottom + 38, "minutes:seconds", "quiet", "end")

    out.append(f'<path d="{area([(at, (v or 0) / 1000) for at, v in column(1)], x, load_y)}" class="need"/>')
    out.append(f'<path d="{area(column(4), x, count_y)}" class="need"/>')
    out.append(f'<path d="{step_path(column(4), x, count_y)}" class="edge"/>')
    out.append(f'<path d="{step_path(column(3), x, count_y)}" class="line hpa"/>')
    out.append(f'<path d="{step_path(column(2), x, count_y)}" class="line gantry"/>')
    for y in (load_y, count_y):
        out.append(f'<path d="M{LEFT} {y(0):.1f}H{WIDTH - RIGHT}" class="axis"/>')

    at = WIDTH - RIGHT
    for words, names, shape in (("HorizontalPodAutoscaler", "hpa", "line"), ("Gantry", "gantry", "line"), ("needed", "need", "box")):
        at -= len(words) * 6.5 + 2
        middle = TOP + LOAD + GAP - 13
        text(at, middle + 4, words, "quiet")
        at -= 26
        if shape == "box":
            out.append(f'<path d="M{at} {middle - 5}h20v10h-20z" class="need"/><path d="M{at} {middle - 5}h20" class="edge"/>')
        else:
            out.append(f'<path d="M{at} {middle}h20" class="line {names}"/>')
        at -= 16

    def style(palette):
        fills = {"text": "text", ".quiet": "quiet", ".need": "need", ".ground": "ground"}
        strokes = {".grid": "grid", ".axis": "edge", ".edge": "edge", ".gantry": "gantry", ".hpa": "hpa"}
        return ("".join(f"{name}{{fill:{palette[key]}}}" for name, key in fills.items())
                + "".join(f"{name}{{stroke:{palette[key]}}}" for name, key in strokes.items()))

    body = "\n".join(out)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">
<title>{escape(title)}</title>
<style>text{{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}}.title{{font-size:17px;font-weight:600}}.grid,.axis,.edge,.line{{fill:none}}.line{{stroke-width:2.4;stroke-linejoin:round}}.edge{{stroke-dasharray:3 3}}{style(LIGHT)}@media (prefers-color-scheme:dark){{{style(DARK)}}}</style>
<rect width="100%" height="100%" rx="8" class="ground"/>
{body}
</svg>
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv")
    parser.add_argument("-o", "--output", required=True, help="the SVG")
    parser.add_argument("--title", default="One load, two autoscalers")
    parser.add_argument("--subtitle", default="")
    given = parser.parse_args()
    with open(given.csv, encoding="utf-8", newline="") as file:
        svg = draw(read(file), given.title, given.subtitle)
    with open(given.output, "w", encoding="utf-8") as file:
        file.write(svg)


if __name__ == "__main__":
    main()
