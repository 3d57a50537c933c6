#!/usr/bin/env -S python3 -B
"""Runs a command in a terminal of its own and draws what one sees as an SVG: a film, or a still of all that was printed.

    deploy/pictures/record.py -o docs/pictures/demo.svg deploy/demo/run

The film is one long column of text behind a window; only the column's place is animated, and what was drawn over while it was to be seen.
Waiting is cut short. Colours follow the light or dark mode of whoever looks. Needs nothing but Python.
"""

import argparse
import bisect
import codecs
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from xml.sax.saxutils import escape

from screen import Screen

CELL, LINE, MARGIN, BAR = 7.8, 18, 14, 30
# Two palettes with enough contrast on their grounds (WCAG AA).
LIGHT = {"ground": "#f6f8fa", "bar": "#e6eaef", "text": "#1f2328", "dim": "#656d76", "red": "#c0202b", "green": "#116329",
         "yellow": "#7d4e00", "blue": "#0550ae", "magenta": "#8250df", "cyan": "#0b6a70"}
DARK = {"ground": "#0d1117", "bar": "#1c2129", "text": "#e6edf3", "dim": "#8d96a0", "red": "#ff7b72", "green": "#56d364",
        "yellow": "#e3b341", "blue": "#79c0ff", "magenta": "#d2a8ff", "cyan": "#76e3ea"}


def record(command, columns, rows, screen, idle, patience):
    """Runs the command to its end; its exit status, and how long the film is."""
    child, terminal = pty.fork()
    if child == 0:
        for name in ("CI", "NO_COLOR"):
            os.environ.pop(name, None)
        os.environ.update(TERM="xterm-256color", COLUMNS=str(columns), LINES=str(rows))
        try:
            os.execvp(command[0], command)
        except OSError as error:
            print(f"{command[0]}: {error.strerror}", file=sys.stderr)
            os._exit(127)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    film, last, begin = 0.0, None, time.monotonic()
    try:
        while True:
            if time.monotonic() - begin > patience:
                os.kill(child, signal.SIGTERM)
                raise SystemExit(f"{command[0]} has not ended within {patience:.0f} s")
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                data = os.read(terminal, 65536)
            except OSError:  # the kernel's way to say that the other side is closed
                break
            if not data:
                break
            now = time.monotonic()
            film += min(now - last, idle) if last else 0
            last = now
            screen.write(decoder.decode(data), round(film, 2))
            sys.stderr.buffer.write(data)
            sys.stderr.buffer.flush()
    finally:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    screen.end(round(film, 2))
    return status, film


def cut(screen, begin, end):
    """Leaves the rows from the first one with the text `begin` to the last one before `end`; times begin anew."""
    text = {row: "".join(run[0] for run in runs) for row, _, until, runs in screen.versions if until is None}
    top = next((row for row in sorted(text) if begin in text[row]), None) if begin else 0
    below = next((row for row in sorted(text) if end in text[row] and row > (top or 0)), None) if end else screen.bottom + 1
    if top is None or below is None:
        raise SystemExit(f"nothing printed has {begin if top is None else end!r} in it")
    zero = min((since for row, since, _, _ in screen.versions if row == top), default=0)
    last = max((since for row, since, _, _ in screen.versions if row < below), default=0) + 0.5
    shift = lambda at: round(max(0, at - zero), 2)
    screen.versions = [
        (row - top, shift(since), until and shift(until), runs)
        for row, since, until, runs in screen.versions
        if top <= row < below and (until is None or until > zero)
    ]
    scrolls = [(shift(at), min(row, below - 1) - top) for at, row in screen.scrolls if at <= last]
    screen.scrolls = [(at, max(0, row)) for at, row in scrolls]
    screen.bottom = below - 1 - top
    return last - zero


def thin(screen, step):
    """Leaves out what was to be seen for less than `step` seconds before it was drawn over."""
    kept, skipped = [], None
    for row, since, until, runs in screen.versions:
        if skipped and skipped[:2] == (row, since):
            since = skipped[2]  # it takes the place of what is left out before it
        if until is not None and until - since < step:
            skipped = (row, until, since)
            continue
        if kept and kept[-1][0] == row and kept[-1][3] == runs and kept[-1][2] == since:
            since = kept.pop()[1]
        kept.append((row, since, until, runs))
    screen.versions = kept


def pace(screen, length, rate):
    """Slows the film down where more than `rate` rows a second came; how long it is then."""
    offsets, offset, free, before = [], 0.0, 0.0, 0
    for at, bottom in screen.scrolls:
        offset += max(0.0, free - (at + offset))
        offsets.append((at, offset))
        free, before = max(free, at + offset) + (bottom - before) / rate, bottom
    times = [at for at, _ in offsets]
    later = lambda at: round(at + offsets[max(0, bisect.bisect_right(times, at) - 1)][1], 2)
    screen.versions = [(row, later(since), until and later(until), runs) for row, since, until, runs in screen.versions]
    screen.scrolls = [(later(at), bottom) for at, bottom in screen.scrolls]
    return max(later(length), free)


def style_of(palette):
    rules = [f".g{{fill:{palette['ground']}}}.h{{fill:{palette['bar']}}}.t,text{{fill:{palette['text']}}}"]
    rules += [f".{name}{{fill:{palette[name]}}}" for name in palette if name not in ("ground", "bar", "text")]
    return "".join(rules)


def row_of(number, runs, extra=""):
    pieces = []
    for text, style in runs:
        names = " ".join(sorted(style - {"black", "white"}))
        pieces.append(f'<tspan class="{names}">{escape(text)}</tspan>' if names else escape(text))
    length = sum(len(text) for text, _ in runs)
    y = number * LINE + LINE - 5
    return f'<text y="{y}" textLength="{length * CELL:.1f}"{extra}>{"".join(pieces)}</text>'


def draw(screen, title, length, still):
    """The SVG."""
    rows = screen.bottom + 1 if still else screen.rows
    inner = (screen.columns * CELL, rows * LINE)
    width, height = inner[0] + 2 * MARGIN, inner[1] + 2 * MARGIN + BAR
    total = length + 5  # the end is to be read, too
    percent = lambda at: f"{100 * at / total:.3f}".rstrip("0").rstrip(".") + "%"
    body, keys, names = [], [], {}
    revealed = {}
    for at, bottom in screen.scrolls:
        for row in range(len(revealed), bottom + 1):
            revealed[row] = at
    for row, since, until, runs in screen.versions:
        if still:
            if until is None:
                body.append(row_of(row, runs))
            continue
        if until is None and since - revealed.get(row, 0) < 0.05:
            body.append(row_of(row, runs))
            continue
        span = (since, until)
        if span not in names:
            names[span] = f"v{len(names)}"
            ends = "" if until is None else f"{percent(until)}{{visibility:hidden}}"
            first = "" if since <= 0 else "0%{visibility:hidden}"
            keys.append(f"@keyframes {names[span]}{{{first}{percent(since)}{{visibility:visible}}{ends}}}")
            hidden = ";visibility:hidden" if until is not None else ""
            keys.append(f".{names[span]}{{animation:{names[span]} {total:.2f}s step-end infinite{hidden}}}")
        body.append(row_of(row, runs, f' class="{names[span]}"'))
    if not still:
        steps = {at: bottom for at, bottom in screen.scrolls}  # of one time the last
        places = [f"{percent(at)}{{transform:translateY({(rows - 1 - bottom) * LINE}px)}}" for at, bottom in steps.items()]
        keys.append(f"@keyframes film{{{''.join(places)}}}")
        keys.append(f"#film{{animation:film {total:.2f}s step-end infinite;transform:translateY({(rows - 1 - screen.bottom) * LINE}px)}}")
        keys.append("@media (prefers-reduced-motion:reduce){*{animation:none!important}}")
    dots = "".join(f'<circle cx="{MARGIN + 5 + 18 * i}" cy="{BAR / 2 + 1}" r="5" class="{c}" opacity=".55"/>'
                   for i, c in enumerate(("red", "yellow", "green")))
    # A face without a width of its own for bold, and every line stretched to its cells: columns stay columns in any face.
    return f"""<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{escape(title, {'"': '&quot;'})}">
<title>{escape(title)}</title>
<style>text{{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono","Liberation Mono",monospace;white-space:pre}}.bold{{font-weight:600}}.italic{{font-style:italic}}.underline{{text-decoration:underline}}{style_of(LIGHT)}@media (prefers-color-scheme:dark){{{style_of(DARK)}}}
{''.join(keys)}</style>
<rect x=".5" y=".5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="8" class="g" stroke="#7d8590" stroke-opacity=".4"/><path d="M0 {BAR}V8a8 8 0 0 1 8-8H{width - 8:.0f}a8 8 0 0 1 8 8V{BAR}z" class="h"/>{dots}
<text x="{width / 2:.0f}" y="{BAR / 2 + 5}" text-anchor="middle" class="dim">{escape(title)}</text>
<svg x="{MARGIN}" y="{BAR + MARGIN}" width="{inner[0]:.0f}" height="{inner[1]}" viewBox="0 0 {inner[0]:.0f} {inner[1]}" overflow="hidden"><g id="film">
{chr(10).join(body)}
</g></svg></svg>
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", required=True, help="the SVG")
    parser.add_argument("--title", default="", help="what stands above it; the command by itself")
    parser.add_argument("--columns", type=int, default=112)
    parser.add_argument("--rows", type=int, default=30)
    parser.add_argument("--idle", type=float, default=1.0, metavar="S", help="longest pause in the film (1 s)")
    parser.add_argument("--pace", type=float, default=7.0, metavar="N", help="most rows a second, so that one can read them (7)")
    parser.add_argument("--begin", metavar="TEXT", help="the first row is the first one with this text")
    parser.add_argument("--end", metavar="TEXT", help="the last row is the one before the first one after it with this text")
    parser.add_argument("--still", action="store_true", help="a still of all rows, instead of a film")
    parser.add_argument("--patience", type=float, default=600, metavar="S", help="longest run of the command (600 s)")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if not given.command:
        parser.error("no command")
    screen = Screen(given.columns, given.rows)
    status, length = record(given.command, given.columns, given.rows, screen, given.idle, given.patience)
    if status:
        raise SystemExit(f"{given.command[0]} ended with status {status}; nothing was drawn")
    if given.begin or given.end:
        length = cut(screen, given.begin, given.end)
    thin(screen, 0.12)
    length = pace(screen, length, given.pace)
    svg = draw(screen, given.title or " ".join(given.command), length, given.still)
    with open(given.output, "w", encoding="utf-8") as file:
        file.write(svg)
    print(f"{given.output}: {len(svg) / 1000:.0f} kB, {length:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
