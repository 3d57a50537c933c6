"""The load of the comparison, and what a course of counts is worth under it. Pure: times are seconds since the beginning, no clock, no I/O."""

import math

REQUEST, LIMIT, TARGET = 1000, 2000, 0.6  # millicores a replica asks for and may use at most; the share of the request to hold
MIN, MAX = 1, 20

# Each phase: its end in seconds, and the load at its beginning and at its end, in replicas. There are steps,
# a ramp, a spike, and a quiet time longer than a HorizontalPodAutoscaler waits. No load is exactly a whole
# number of replicas, because then a thousandth more or less would decide. The times fall anywhere in the 10 s
# between two readings.
PHASES = [(62, 1.9, 1.9), (185, 7.8, 7.8), (308, 2.9, 2.9), (394, 2.9, 11.8), (426, 17.7, 17.7), (786, 2.9, 2.9)]


def demand(seconds, phases=None):
    """Millicores that all callers together ask for. A ramp goes in steps of 5 s."""
    begin = 0
    for until, first, last in phases or PHASES:
        if seconds < until:
            part = (seconds - begin) // 5 * 5 / (until - begin)
            return round((first + (last - first) * part) * REQUEST * TARGET)
        begin = until
    return round((phases or PHASES)[-1][2] * REQUEST * TARGET)


def required(millicores):
    """The least count that holds the target."""
    return max(MIN, min(MAX, math.ceil(millicores / (REQUEST * TARGET) - 1e-9)))


def shares(millicores, names):
    """What each replica gets of the demand: equal parts, as a load balancer gives them, and never more than it may use."""
    each = min(LIMIT, millicores // len(names)) if names else 0
    return {name: each for name in names}


def changes(phases=None):
    """The times at which the load changes or begins to, with the count it asks for before and after."""
    phases = phases or PHASES
    found = []
    for (at, _, before), (_, first, last) in zip(phases, phases[1:]):
        kind = "ramp" if first != last else "step"
        found.append((at, kind, math.ceil(before), math.ceil(last if kind == "ramp" else first)))
    return found


def reaction(counts, at, until, before, after):
    """Seconds from a change of the load to the first scale call in its direction, and to the first count that is enough; None for never.

    `counts` are (time, count) pairs, one for each change of the count, in order. Down, enough means no more than is needed.
    """
    up = after > before
    first = enough = None
    last = next((count for time, count in reversed(counts) if time <= at), before)
    if last == after:
        enough = 0.0
    for time, count in counts:
        if not at < time <= until:
            continue
        if first is None and (count > last if up else count < last):
            first = time - at
        if enough is None and (count >= after if up else count <= after):
            enough = time - at
        last = count
    return first, enough


def balance(rows):
    """Of (needed, there) pairs, one a second: replica-seconds that were missing, and that were idle."""
    return sum(max(0, need - there) for need, there in rows), sum(max(0, there - need) for need, there in rows)
