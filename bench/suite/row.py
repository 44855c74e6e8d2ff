"""The things that modules with rows export, or make them of."""

from dataclasses import dataclass, field
from typing import Callable, Optional


# Behind the name of a metric: the processor time of the side's daemons for an item, in us.
PROCESSOR = " processor"


# Goal.of: the same side, of the build that `bench/run --against` measures beside this one.
OTHER_BUILD = "the other build"


def is_processor(metric):
    return metric.endswith(PROCESSOR)


@dataclass
class Goal:
    """A ratio that `side` shall reach against the side `of` of the same row, or a value without.

    `metric` is a key of the samples, "" for a plain number; None: each metric that both have.
    `of_metric` is that of the other side, where it is another one. `pick` says which of the samples
    count: "median", or "best" for the least noisy ones. `scale` multiplies the other side's value.
    `unit` is that of a value without another side, where it is not the row's. `reach` is what the
    goal is called in the table at the head of the report, of what the whole is to reach; the others
    stand in the table of goals.
    """

    side: str
    of: Optional[str] = None
    at_least: Optional[float] = None
    at_most: Optional[float] = None
    metric: Optional[object] = None
    of_metric: Optional[object] = None
    pick: str = "median"
    scale: float = 1.0
    unit: str = ""
    reach: str = ""


@dataclass
class Row:
    name: str  # what `bench/run NAME` takes
    title: str  # one line for the report
    sides: Callable  # context manager function: bench -> {name of side: callable}
    unit: str  # "items/s", "us", ...
    baseline: Optional[str] = None  # the side that ratios in the report are to
    rounds: int = 5
    seconds: float = 10.0  # what the whole row takes in a full run, for the line of progress
    more_is_better: bool = True
    goals: list = field(default_factory=list)
    note: str = ""  # a paragraph below the row's table


class Shared:
    """One measurement with several results, each of which is a side: what runs first in a round
    measures, the others take what it left."""

    def __init__(self, measure):
        self.measure = measure
        self.left = {}

    def take(self, name):
        if name not in self.left:
            self.left = self.measure()
        return self.left.pop(name)

    def sides(self, names):
        return {name: lambda name=name: self.take(name) for name in names}


@dataclass
class Line:
    """One line in a picture: a side of a row, its metrics as x."""

    row: str
    side: str
    label: str


@dataclass
class Picture:
    file: str  # "batch-size.svg"
    title: str
    x: str  # what the axes show; "percentile" where the metrics are p50, p99, ...
    y: str
    lines: list
    log_x: bool = True
    log_y: bool = True
    y_scale: float = 1.0  # the values are multiplied by this
