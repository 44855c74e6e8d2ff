"""RESULTS.md from the samples: what was measured where, a line a goal, a table for each row."""

import dataclasses
import statistics

from suite.row import OTHER_BUILD, PROCESSOR, is_processor

HEAD = """# Results

Made by `{command}` on {date} (UTC).

| | |
| --- | --- |
{machine}

Figures of different machines do not compare; ratios of one run do. Each row ran its sides in turn,
round by round. Items have 100 bytes unless something else is said. *n* is the number of rounds;
*ratio* is the median divided by that of the row's baseline. What is held against a goal is the
median of the rounds' own ratios, or the best of one side against the best of the other where a
goal is of best runs.
"""

REACH_HEAD = ["## To reach", "", "| what | asked | seen | |", "| --- | --- | --- | --- |"]
GOALS_HEAD = ["## Goals", "", "| what | side | is | goal | |", "| --- | --- | --- | --- | --- |"]


def number(value):
    """Four digits, or whole."""
    if abs(value) >= 1000:
        return "{:,.0f}".format(value)
    return "%.4g" % value


def values_of(result, side, metric):
    return [sample[metric] for sample in result["sides"].get(side, []) if metric in sample]


def metrics_of(result, side):
    """Those that a row has lines for; what they cost stands beside them."""
    samples = result["sides"].get(side, [])
    return [metric for metric in samples[0] if not is_processor(metric)] if samples else []


def has_processor(result):
    return any(is_processor(metric) for samples in result["sides"].values()
               for sample in samples[:1] for metric in sample)


def picked(row, goal, values):
    if goal.pick == "best":
        return max(values) if row.more_is_better else min(values)
    return statistics.median(values)


def goal_metrics(result, goal):
    """Those that both sides have samples of."""
    ours = metrics_of(result, goal.side)
    theirs = metrics_of(result, goal.of or goal.side)
    if goal.metric is None:
        return [metric for metric in ours if metric in theirs]
    of_metric = goal.metric if goal.of_metric is None else goal.of_metric
    there = str(goal.metric) in ours and str(of_metric) in theirs
    return [str(goal.metric)] if there else []


def ratio_of(row, goal, result, metric):
    """The pairs' median where both sides have as many rounds, so that a slow minute cancels out."""
    ours = values_of(result, goal.side, metric)
    if not goal.of:
        return picked(row, goal, ours)
    of_metric = metric if goal.of_metric is None else str(goal.of_metric)
    theirs = values_of(result, goal.of, of_metric)
    if goal.pick == "median" and len(ours) == len(theirs):
        return statistics.median(a / b for a, b in zip(ours, theirs)) / goal.scale
    return picked(row, goal, ours) / picked(row, goal, theirs) / goal.scale


def verdict(goal, ratio):
    if goal.at_least is not None:
        wanted, met, short = "at least %s" % number(goal.at_least), ratio >= goal.at_least, (
            1 - ratio / goal.at_least)
    else:
        wanted, met, short = "at most %s" % number(goal.at_most), ratio <= goal.at_most, (
            ratio / goal.at_most - 1)
    return wanted, "met" if met else "**not met** by %.0f %%" % max(1, 100 * short)


def against(row, goal):
    if not goal.of:
        return goal.unit or row.unit
    times = "%s x " % number(goal.scale) if goal.scale != 1 else ""
    of_metric = " " + str(goal.of_metric) if goal.of_metric else ""
    return "of %s%s%s" % (times, goal.of, of_metric)


def goal_lines(row, result):
    """The goals that the table at the head does not have."""
    lines = []
    for goal in [goal for goal in row.goals if not goal.reach]:
        metrics = goal_metrics(result, goal)
        if not metrics:
            lines.append("| %s | %s | | %s | not measured |" % (
                row.title, goal.side, verdict(goal, 1.0)[0]))
        for metric in metrics:
            ratio = ratio_of(row, goal, result, metric)
            wanted, met = verdict(goal, ratio)
            lines.append("| %s | %s | %s %s | %s | %s |" % (
                row.title, " ".join((goal.side, metric)).strip(), number(ratio),
                against(row, goal), wanted, met))
    return lines


# The samples of no run.
NOTHING = {"sides": {}}


def where_measured(row, goal, results, beside):
    """The result, and the goal as it is there: another build's samples are in their own file."""
    if goal.of != OTHER_BUILD:
        return results["rows"].get(row.name, NOTHING), goal
    other = dataclasses.replace(goal, of="%s, %s" % (goal.side, OTHER_BUILD))
    return beside["rows"].get(row.name, NOTHING), other


def reach_line(row, goal, results, beside):
    result, measured = where_measured(row, goal, results, beside)
    metrics = goal_metrics(result, measured)
    wanted = "%s %s" % (verdict(goal, 1.0)[0], against(row, goal))
    if not metrics:
        how = "bench/run --against DIR" if goal.of == OTHER_BUILD else "bench/run"
        return "| %s | %s | | not measured: `%s %s` |" % (goal.reach, wanted, how, row.name)
    ratio = ratio_of(row, measured, result, metrics[0])
    met = verdict(goal, ratio)[1]
    if result.get("error"):
        met += ", cut short"
    if goal.of == OTHER_BUILD:
        met += " (%s, %s)" % (beside["about"]["machine"]["queuefs"], result["date"])
    return "| %s | %s | %s | %s |" % (goal.reach, wanted, number(ratio), met)


def reach_lines(rows, results, beside):
    """A line for each goal of the table at the head, in the order of the rows. `beside`: the
    samples of the last comparison with another build."""
    return [reach_line(row, goal, results, beside)
            for row in rows for goal in row.goals if goal.reach]


def row_lines(row, result):
    extra = [" ratio |"] * bool(row.baseline) + [" processor, us an item |"] * has_processor(result)
    lines = ["| %s | n | median %s | min | max |%s" % (row.name, row.unit, "".join(extra)),
             "| --- | --: | --: | --: | --: |" + " --: |" * len(extra)]
    for side in result["sides"]:
        for metric in metrics_of(result, side):
            values = values_of(result, side, metric)
            line = "| %s | %d | %s | %s | %s |" % (
                " ".join((side, metric)).strip(), len(values), number(statistics.median(values)),
                number(min(values)), number(max(values)))
            lines.append(line + ratio_cell(row, result, metric, values)
                         + processor_cell(result, side, metric))
    return lines


def processor_cell(result, side, metric):
    """Of the side's own daemons, as far as that was measured."""
    if not has_processor(result):
        return ""
    used = values_of(result, side, metric + PROCESSOR)
    return " %s |" % number(statistics.median(used)) if used else " |"


def ratio_cell(row, result, metric, values):
    if not row.baseline:
        return ""
    base = values_of(result, row.baseline, metric)
    if not base or statistics.median(base) == 0:
        return " |"
    return " %s |" % number(statistics.median(values) / statistics.median(base))


def section(row, result):
    lines = ["", "### %s (`bench/run %s`)" % (row.title, row.name), ""]
    if row.note:
        lines += [row.note, ""]
    if result["error"]:
        lines += ["This could not be measured to its end: `%s`" % first_line(result["error"]), ""]
    if result["sides"]:
        lines += row_lines(row, result)
    return lines


def first_line(text):
    return text.strip().splitlines()[0].replace("`", "'")


def report(rows, results, beside, pictures, remarks):
    """The text. `rows`: those that there are; only what has results is told of, but for what is to
    be reached. `beside`: as in reach_lines(). `remarks` stand below the goals: what no figure
    says."""
    about = results["about"]
    known = [(row, results["rows"][row.name]) for row in rows if row.name in results["rows"]]
    machine = "\n".join("| %s | %s |" % pair for pair in about.get("machine", {}).items())
    lines = [HEAD.format(command=about.get("command", "bench/run"), date=about.get("date", ""),
                         machine=machine)]
    lines += REACH_HEAD + reach_lines(rows, results, beside)
    goals = [line for row, result in known for line in goal_lines(row, result)]
    if goals:
        lines += [""] + GOALS_HEAD + goals
    if remarks:
        lines += ["", remarks.strip()]
    if pictures:
        lines += ["", "## Pictures", ""]
        lines += ["![%s](%s)" % (picture.title, picture.file) for picture in pictures]
    lines += ["", "## All rows"]
    for row, result in known:
        lines += section(row, result)
    return "\n".join(lines) + "\n"
