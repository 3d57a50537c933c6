"""A terminal's screen, as far as our programs use one: what stands in each row, in which colours, and from when to when.

Rows are counted from the first one printed and never forgotten, as if the screen were endless downwards. Times are arguments, in seconds. Must
not know where the bytes come from or how they are drawn.
"""

import re
import unicodedata

# A control sequence, an operating system command (titles, links), or another escape.
ESCAPE = re.compile(r"\x1b\[([0-9;?]*)([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[^\[\]]")
# One that is not whole yet.
PARTIAL = re.compile(r"\x1b(?:\[[0-9;?]*|\][^\x07]*)?$")

COLORS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"]


class Screen:
    """Takes what a program writes; `versions` says what was to be seen when."""

    def __init__(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.row = self.column = self.bottom = 0
        self.wraps = True
        self.style = frozenset()
        self.cells = {}  # row -> list of (character, style)
        self.rest = ""
        self.versions = []  # (row, from, until or None, runs)
        self.shown = {}  # row -> (from, runs)
        self.scrolls = [(0.0, 0)]  # (time, bottom row)

    def write(self, text, now):
        """Takes a text that came at this time."""
        text = self.rest + text
        partial = PARTIAL.search(text)
        self.rest = partial.group() if partial else ""
        text = text[: len(text) - len(self.rest)]
        at = 0
        while at < len(text):
            escape = ESCAPE.match(text, at)
            if escape:
                if escape.group(2):
                    self._control(escape.group(1), escape.group(2))
                at = escape.end()
                continue
            self._character(text[at])
            at += 1
        self._snapshot(now)

    def end(self, now):
        """What stands now stays."""
        self._snapshot(now)
        for row, (since, runs) in self.shown.items():
            self.versions.append((row, since, None, runs))
        self.versions.sort(key=lambda version: version[:2])

    def _character(self, character):
        if character == "\n":
            self.row += 1
            self.column = 0  # the kernel's terminal driver sends \r before it; a program without one means the same
        elif character == "\r":
            self.column = 0
        elif character == "\t":
            self.column = min(self.columns - 1, (self.column // 8 + 1) * 8)
        elif character == "\b":
            self.column = max(0, self.column - 1)
        elif unicodedata.category(character).startswith("C") or unicodedata.combining(character):
            return
        else:
            if self.column >= self.columns:
                if not self.wraps:
                    return
                self.row += 1
                self.column = 0
            cells = self.cells.setdefault(self.row, [])
            cells.extend([(" ", frozenset())] * (self.column + 1 - len(cells)))
            cells[self.column] = (character, self.style)
            self.column += 1
        self.bottom = max(self.bottom, self.row)

    def _control(self, arguments, letter):
        numbers = [int(number) for number in re.findall(r"\d+", arguments)]
        count = max(1, numbers[0] if numbers else 1)
        top = max(0, self.bottom - self.rows + 1)
        if letter == "m":
            self._color(numbers or [0])
        elif letter == "A":
            self.row = max(top, self.row - count)
        elif letter == "B":
            self.row = min(self.bottom, self.row + count)
        elif letter == "C":
            self.column = min(self.columns - 1, self.column + count)
        elif letter == "D":
            self.column = max(0, self.column - count)
        elif letter == "G":
            self.column = min(self.columns, count) - 1
        elif letter == "H":
            self.row = top + count - 1
            self.column = (numbers[1] if len(numbers) > 1 else 1) - 1
        elif letter == "K":
            self._erase(numbers[0] if numbers else 0)
        elif letter == "J":
            whole = bool(numbers) and numbers[0] >= 2
            if not whole:
                self._erase(0)
            for row in [row for row in self.cells if row >= (top if whole else self.row + 1)]:
                self.cells[row] = []
        elif letter in "hl" and arguments == "?7":
            self.wraps = letter == "h"

    def _erase(self, how):
        cells = self.cells.get(self.row, [])
        if how == 0:
            del cells[self.column :]
        elif how == 1:
            cells[: self.column + 1] = [(" ", frozenset())] * min(self.column + 1, len(cells))
        else:
            cells.clear()

    def _color(self, numbers):
        style = set(self.style)
        for number in numbers:
            if number == 0:
                style = set()
            elif number in (1, 2, 3, 4):
                style.add({1: "bold", 2: "dim", 3: "italic", 4: "underline"}[number])
            elif number == 22:
                style -= {"bold", "dim"}
            elif 30 <= number <= 39 or 90 <= number <= 97:
                style -= set(COLORS)
                if number != 39:
                    style.add(COLORS[number % 10])
        self.style = frozenset(style)

    def _snapshot(self, now):
        if self.bottom != self.scrolls[-1][1]:
            self.scrolls.append((now, self.bottom))
        for row in self.cells:
            runs = _runs(self.cells[row])
            since, before = self.shown.get(row, (now, None))
            if runs == before:
                continue
            if before and since < now:
                self.versions.append((row, since, now, before))
            self.shown[row] = (now, runs)
            if not runs:
                del self.shown[row]


def _runs(cells):
    """A row as pieces of one style, without blanks at its end."""
    runs = []
    for character, style in cells:
        if runs and (runs[-1][1] == style or character == " "):
            runs[-1] = (runs[-1][0] + character, runs[-1][1])
        else:
            runs.append((character, style))
    while runs and not runs[-1][0].strip():
        runs.pop()
    if runs:
        runs[-1] = (runs[-1][0].rstrip(), runs[-1][1])
    return tuple(runs)
