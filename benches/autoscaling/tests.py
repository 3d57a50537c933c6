"""Tests of the load and of what is made of a course: `python3 -B -m unittest discover -s benches/autoscaling -p tests.py`."""

import unittest

import load


class TheLoad(unittest.TestCase):
    def test_it_asks_for_what_its_phases_say(self):
        asked = [load.required(load.demand(second)) for second in (0, 61, 62, 184, 185, 308, 393, 394, 425, 426, 785, 999)]
        self.assertEqual(asked, [2, 2, 8, 8, 3, 3, 12, 18, 18, 3, 3, 3])

    def test_a_ramp_never_goes_back(self):
        course = [load.demand(second) for second in range(308, 394)]
        self.assertEqual(course, sorted(course))
        self.assertGreater(len(set(course)), 10)

    def test_a_replica_never_uses_more_than_it_may(self):
        self.assertEqual(load.shares(4800, ["a", "b"]), {"a": 2000, "b": 2000})
        self.assertEqual(load.shares(4800, list("abcdefgh"))["a"], 600)
        self.assertEqual(load.shares(4800, []), {})

    def test_changes_are_the_beginnings_of_phases(self):
        kinds = [(at, kind, before, after) for at, kind, before, after in load.changes()]
        self.assertEqual(kinds[0], (62, "step", 2, 8))
        self.assertEqual(kinds[2], (308, "ramp", 3, 12))
        self.assertEqual(len(kinds), len(load.PHASES) - 1)


class TheFigures(unittest.TestCase):
    def test_the_first_call_in_the_right_direction_counts(self):
        counts = [(-1.0, 2), (50, 1), (65, 2), (70, 5), (80, 8), (100, 9)]
        self.assertEqual(load.reaction(counts, 60, 180, 2, 8), (5, 20))
        self.assertEqual(load.reaction(counts, 60, 75, 2, 8), (5, None))
        self.assertEqual(load.reaction(counts, 110, 180, 8, 3), (None, None))
        self.assertEqual(load.reaction([(0, 8), (70, 9), (90, 7), (120, 3)], 60, 180, 8, 3), (30, 60), "a step up is not a step down")

    def test_what_is_missing_and_what_is_idle_do_not_cancel(self):
        self.assertEqual(load.balance([(8, 2), (8, 8), (3, 8)]), (6, 5))


if __name__ == "__main__":
    unittest.main()
