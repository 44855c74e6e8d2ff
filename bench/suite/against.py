"""Two builds of the programs in one run: each row has both, and each side of it runs with the one,
then with the other, round by round, so that a slow minute of the machine meets both."""

import statistics
from contextlib import contextmanager

from suite import report, runner
from suite.row import OTHER_BUILD, PROCESSOR

NEW, OLD = "this build", OTHER_BUILD


def paired(row):
    """The row's sides, twice: {"side": ..., "side, the other": ...}."""
    @contextmanager
    def sides(pair):
        with row.sides(pair[NEW]) as ours, row.sides(pair[OLD]) as theirs:
            both = {}
            for name in ours:
                both[name] = ours[name]
                both[name + ", " + OLD] = theirs[name]
            yield both
    return sides


class Pair:
    """What a row runs in: a place for each build. The programs that measure are of the first."""

    def __init__(self, new, old):
        self.places = {NEW: new, OLD: old}
        self.quick = new.quick
        self.errors = new.errors
        self.shortened = new.shortened

    def __getitem__(self, build):
        return self.places[build]


class PairedRow:
    def __init__(self, row):
        self.name, self.title, self.unit = row.name, row.title, row.unit
        self.rounds, self.seconds = row.rounds, 2 * row.seconds
        self.more_is_better = row.more_is_better
        self.sides = paired(row)


def share_of_time(row, ours, theirs):
    """The time of the new one as a part of the old one's: the median of the rounds' own ratios, and
    the best of the one against the best of the other."""
    pairs = [a / b if b else 1.0 for a, b in zip(ours, theirs)]
    pick = max if row.more_is_better else min
    best = pick(ours) / pick(theirs) if pick(theirs) else 1.0
    median = statistics.median(pairs)
    return (1 / median, 1 / best) if row.more_is_better else (median, best)


def compared(row, result, side, metric):
    """A line of the table; None where the other has no such samples."""
    ours = report.values_of(result, side, metric)
    theirs = report.values_of(result, side + ", " + OLD, metric)
    if not theirs:
        return None
    median, best = share_of_time(row, ours, theirs)
    return "| %s | %d | %s | %s | %.2f | %.2f |" % (
        " ".join((side, metric.strip())).strip(), len(ours), report.number(statistics.median(ours)),
        report.number(statistics.median(theirs)), median, best)


class ProcessorTime:
    more_is_better = False


def table(row, result):
    lines = ["", "### %s (%s)" % (row.title, row.name), ""]
    if result["error"]:
        lines += ["This could not be measured to its end: `%s`" % report.first_line(
            result["error"]), ""]
    lines += ["| %s | n | %s, median | %s, median | of its time | best of best |" % (
        row.unit, NEW, OLD), "| --- | --: | --: | --: | --: | --: |"]
    for side in [name for name in result["sides"] if not name.endswith(", " + OLD)]:
        for metric in report.metrics_of(result, side):
            lines.append(compared(row, result, side, metric))
            lines.append(compared(ProcessorTime, result, side, metric + PROCESSOR))
    return [line for line in lines if line is not None]


def reached(row, results):
    """What the row is asked for beside another build."""
    lines = [report.reach_line(row, goal, results, results)
             for goal in row.goals if goal.of == OTHER_BUILD]
    return [""] + lines if lines else []


def run(new, old, rows, results):
    """Measures, keeps the samples in `results` and prints a table a row. Whether all ended well."""
    pair = Pair(new, old)
    paired_rows = [PairedRow(row) for row in rows]
    runner.run_rows(pair, paired_rows, results)
    for row, paired_row in zip(rows, paired_rows):
        lines = table(paired_row, results.data["rows"][row.name])
        print("\n".join(lines + reached(row, results.data)))
    return not any(results.data["rows"][row.name]["error"] for row in rows)
