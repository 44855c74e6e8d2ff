"""Runs rows: each round runs each side once, in turn, and from the other end every second time, so
that neither always comes first. A side that fails ends its row; the run goes on with the next."""

import json
import os
import sys
import time
import traceback


class Progress:
    """One line: what runs, and how long is left. What is done tells how fast this machine is."""

    def __init__(self, rows, quick):
        self.rows = rows
        self.planned = sum(row.seconds for row in rows)
        self.done = 0.0
        self.begin = time.monotonic()
        self.quick = quick
        self.tty = sys.stderr.isatty()
        self.told = None  # where there is no line to write over, one for each row

    def left(self, row, share):
        """Seconds, from what the rows said they would take and what they did take."""
        done = self.done + row.seconds * share
        pace = (time.monotonic() - self.begin) / done if done > self.planned * 0.05 else 1.0
        return max(0.0, self.planned - done) * pace

    def show(self, row, number, share, text):
        left = "" if self.quick else ", %d:%02d left" % divmod(int(self.left(row, share)), 60)
        line = "[%d/%d] %s: %s%s" % (number + 1, len(self.rows), row.name, text, left)
        if self.tty:
            print("\r\033[K" + line[:100], end="", file=sys.stderr, flush=True)
        elif number != self.told:
            print(line, file=sys.stderr, flush=True)
            self.told = number

    def finish(self, row):
        self.done += row.seconds

    def end(self):
        if self.tty:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


class Results:
    """All samples, in a file: {"about": {...}, "rows": {row: {"sides": {side: [sample, ...]}}}}.
    A row that runs again replaces its samples."""

    def __init__(self, path):
        self.path = path
        self.data = {"about": {}, "rows": {}}
        if os.path.exists(path):
            with open(path) as file:
                self.data = json.load(file)

    def clear(self):
        self.data = {"about": {}, "rows": {}}

    def put(self, name, result):
        self.data["rows"][name] = result
        self.save()

    def save(self):
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(self.path + ".new", "w") as file:
            json.dump(self.data, file, indent=1)
        os.replace(self.path + ".new", self.path)


def sample_of(value):
    """As in the file: {metric: number}, where a plain number is the metric ""."""
    if isinstance(value, dict):
        return {str(key): float(number) for key, number in value.items()}
    return {"": float(value)}


def run_rounds(bench, row, n_rounds, samples, show):
    """Adds to `samples`, so that what was measured before some failure is kept."""
    with row.sides(bench) as sides:
        names = list(sides)
        samples.update({name: [] for name in names})
        for number in range(n_rounds):
            for place, name in enumerate(names if number % 2 == 0 else reversed(names)):
                share = (number + place / len(names)) / n_rounds
                show(share, "%s, round %d of %d" % (name, number + 1, n_rounds))
                samples[name].append(sample_of(sides[name]()))


def run_row(bench, row, show):
    """What the results keep of a row."""
    begin = time.monotonic()
    result = {"sides": {}, "error": None, "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime())}
    show(0, "starts")
    try:
        n_rounds = min(row.rounds, 2) if bench.quick else row.rounds
        run_rounds(bench, row, n_rounds, result["sides"], show)
        os.sync()  # giving back the blocks of what was removed is not the next row's work
    except Exception as error:  # whatever went wrong, the other rows can still be measured
        result["error"] = bench.shortened("%s: %s" % (type(error).__name__, error))
        with open(bench.errors, "a") as log:
            print(row.name, file=log)
            traceback.print_exc(file=log)
    result["seconds"] = round(time.monotonic() - begin, 1)
    return result


def run_rows(bench, rows, results):
    progress = Progress(rows, bench.quick)
    for number, row in enumerate(rows):
        result = run_row(bench, row, lambda share, text, row=row, number=number: progress.show(
            row, number, share, text))
        progress.finish(row)
        progress.end()
        results.put(row.name, result)
        failed = ", FAILED: " + result["error"].splitlines()[0] if result["error"] else ""
        print("%s: %.1f s%s" % (row.name, result["seconds"], failed), flush=True)
