"""Tests of the pictures: `python3 -B -m unittest discover -s deploy/pictures -p tests.py`. They run no program but small ones of Python."""

import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import xml.dom.minidom

import chart
import record
from screen import Screen

HERE = pathlib.Path(__file__).parent


def seen(screen, at):
    """The rows that were to be seen at a time."""
    rows = {row: "".join(run[0] for run in runs) for row, since, until, runs in screen.versions
            if since <= at and (until is None or at < until)}
    return [rows.get(row, "") for row in range(max(rows, default=-1) + 1)]


class TheScreen(unittest.TestCase):
    def played(self, *parts, rows=10):
        screen = Screen(20, rows)
        for at, text in enumerate(parts):
            screen.write(text, float(at))
        screen.end(float(len(parts)))
        return screen

    def test_a_picture_that_is_drawn_over_was_there_until_then(self):
        screen = self.played("$ go\n", "\x1b[?7l1/3\x1b[K\n##\x1b[K\n\x1b[J\x1b[?7h", "\r\x1b[2A2/3\x1b[K\n####\x1b[K\n\x1b[J", "\r\x1b[2A\x1b[Jdone\n")
        self.assertEqual(seen(screen, 0), ["$ go"])
        self.assertEqual(seen(screen, 1), ["$ go", "1/3", "##"])
        self.assertEqual(seen(screen, 2), ["$ go", "2/3", "####"])
        self.assertEqual(seen(screen, 9), ["$ go", "done"])
        self.assertEqual(screen.scrolls[-1], (1.0, 3), "a screen does not scroll back")

    def test_colours_are_kept_with_their_text_and_blanks_at_the_end_are_not(self):
        screen = self.played("a \x1b[1;31mred\x1b[0m b\x1b[2m  \x1b[0m\n")
        runs = screen.versions[0][3]
        self.assertEqual([(text, sorted(style)) for text, style in runs], [("a ", []), ("red ", ["bold", "red"]), ("b", [])])

    def test_a_sequence_may_come_in_two_parts(self):
        screen = self.played("a\x1b[3", "1mb\x1b", "[0mc\x1b]0;title\x07d\n")
        self.assertEqual(seen(screen, 9), ["abcd"])

    def test_what_was_to_be_seen_for_a_blink_is_left_out_and_nothing_else(self):
        screen = Screen(20, 10)
        for at, text in ((0, "a\n"), (1, "\x1b[A\x1b[Kb\n"), (1.05, "\x1b[A\x1b[Kc\n"), (2, "\x1b[A\x1b[K\n"), (5, "\x1b[Ad\n")):
            screen.write(text, at)
        screen.end(6)
        record.thin(screen, 0.1)
        self.assertEqual([version[1:3] for version in screen.versions], [(0, 1), (1, 2), (5, None)])
        self.assertEqual(seen(screen, 1.02), ["c"])
        self.assertEqual(seen(screen, 3), [])

    def test_many_rows_at_once_give_time_to_read_them(self):
        screen = self.played("a\n", "b\n" * 10, "c\n", "d\n")
        length = record.pace(screen, 4.0, 2.0)
        since = {row: version for row, version, *_ in screen.versions}
        self.assertEqual((since[0], since[1]), (0, 1), "nothing is in haste there")
        self.assertEqual((since[11], since[12]), (6, 7))
        self.assertEqual(length, 8)
        self.assertEqual([at for at, _ in screen.scrolls], [0, 0, 1, 6, 7])

    def test_long_lines_wrap_and_without_wrapping_are_cut(self):
        self.assertEqual(seen(self.played("x" * 25 + "\n"), 9), ["x" * 20, "x" * 5])
        self.assertEqual(seen(self.played("\x1b[?7l" + "x" * 25 + "\n"), 9), ["x" * 20])


class TheRecorder(unittest.TestCase):
    def recorded(self, program, *options):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "a.svg")
            command = [sys.executable, "-B", HERE / "record.py", "-o", file, *options, sys.executable, "-c", program]
            done = subprocess.run(command, capture_output=True, timeout=60, check=False)
            return done.returncode, file.read_text() if file.exists() else None

    def test_a_film_is_whole_and_shows_what_was_printed(self):
        status, svg = self.recorded("import sys; print('\\x1b[31m<&>\\x1b[0m', sys.stdout.isatty())", "--title", 'a "b"')
        self.assertEqual(status, 0)
        xml.dom.minidom.parseString(svg)
        self.assertIn('<tspan class="red">&lt;&amp;&gt; </tspan>True', svg)
        self.assertIn("@keyframes film", svg)

    def test_a_still_has_no_motion_and_only_the_rows_between_the_marks(self):
        program = "[print(line) for line in ('one', 'two', 'three', 'four')]"
        status, svg = self.recorded(program, "--still", "--title", "x", "--begin", "two", "--end", "four")
        self.assertEqual(status, 0)
        self.assertNotIn("@keyframes", svg)
        self.assertEqual(re.findall(r"<text y=[^>]*>(\w+)", svg), ["two", "three"])
        self.assertNotEqual(self.recorded(program, "--still", "--begin", "five")[0], 0)

    def test_a_command_that_fails_makes_no_picture(self):
        status, svg = self.recorded("raise SystemExit(3)")
        self.assertNotEqual(status, 0)
        self.assertIsNone(svg)


HEAD = "seconds,load_cpu_millicores,gantry_replicas,hpa_replicas,required\n"


class TheChart(unittest.TestCase):
    def drawn(self, *lines):
        return chart.draw(chart.read([HEAD, *(f"{line}\n" for line in lines)]), "a < b")

    def test_a_count_holds_until_it_changes_and_a_gap_stays_one(self):
        points = [(0, 1), (1, 1), (2, 3), (3, None), (4, 2), (5, 2)]
        self.assertEqual(chart.step_path(points, lambda x: x, lambda y: y), "M0.0 1.0H2.0V3.0M4.0 2.0H5.0")

    def test_every_line_is_inside_the_picture(self):
        svg = self.drawn("0,1200,2,2,2", "60,4800,2,2,8", "65,4800,8,,8", "90,4800,8,8,8", "600,0,1,8,0")
        xml.dom.minidom.parseString(svg)
        height = float(re.search(r'viewBox="0 0 \d+ (\d+)"', svg).group(1))
        for path in re.findall(r'<path d="([^"]*)"', svg):
            for x, y in re.findall(r"M([\d.]+) ([\d.]+)", path):
                self.assertTrue(0 <= float(x) <= chart.WIDTH and 0 <= float(y) <= height, path)
            for y in re.findall(r"V([\d.-]+)", path):
                self.assertTrue(0 <= float(y) <= height, path)
        for words in ("needed", "Gantry", "HorizontalPodAutoscaler", "a &lt; b", "0:00", "10:00"):
            self.assertIn(f">{words}<", svg)

    def test_rows_may_come_in_any_order(self):
        lines = ["0,1,2,2,2", "60,2,3,2,3", "90,2,3,3,3"]
        self.assertEqual(self.drawn(*lines), self.drawn(*reversed(lines)))

    def test_marks_are_round_and_reach_the_top(self):
        for top in (0, 0.3, 1, 7, 19, 20, 21, 499, 10000):
            marks = chart.ticks(top)
            self.assertTrue(marks[0] == 0 and marks[-1] >= top and len(marks) <= 8, (top, marks))

    def test_what_is_no_course_is_refused(self):
        with self.assertRaisesRegex(ValueError, "hpa_replicas"):
            chart.read(["seconds,load_cpu_millicores,gantry_replicas,required\n", "0,1,1,1\n"])
        with self.assertRaisesRegex(ValueError, "two rows"):
            chart.read([HEAD, "0,1,1,1,1\n"])


if __name__ == "__main__":
    unittest.main()
