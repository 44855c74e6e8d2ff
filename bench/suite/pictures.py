"""Pictures from the samples, by gnuplot: medians over x, with bars from the least to the most."""

import statistics
import subprocess

COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"]

PERCENTILES = ["0", "50", "90", "99", "99.9"]

SETUP = """set terminal svg size 760,460 font 'sans-serif,13' background '#ffffff'
set output {file}
set title {title} noenhanced
set xlabel {x} noenhanced
set ylabel {y} noenhanced
set grid xtics ytics lt 1 lc rgb '#dddddd'
set key below noenhanced
set border 3 lc rgb '#666666'
set tics nomirror
set format y {format}
"""


def quoted(text):
    return "'" + str(text).replace("'", "''") + "'"


def x_of(metric):
    """A number; a quantile as what part is beyond it, upside down, so that p99 is as far from p90 as
    that is from p0. ValueError: neither."""
    if metric.startswith("p"):
        return 1 / (1 - float(metric[1:]) / 100)
    return float(metric)


def points(result, side, scale):
    """(x, median, least, most), by x. What is neither number nor quantile is left out."""
    table = {}
    for sample in result["sides"].get(side, []):
        for metric, value in sample.items():
            try:
                table.setdefault(x_of(metric), []).append(value * scale)
            except ValueError:
                pass
    return [(x, statistics.median(v), min(v), max(v)) for x, v in sorted(table.items())]


def curves(picture, results):
    """(label, points) of the lines that there are samples for."""
    found = []
    for line in picture.lines:
        result = results["rows"].get(line.row)
        data = points(result, line.side, picture.y_scale) if result else []
        if data:
            found.append((line.label, data))
    return found


def script(picture, data, path):
    text = SETUP.format(file=quoted(path), title=quoted(picture.title), x=quoted(picture.x),
                        y=quoted(picture.y),
                        format=quoted("%.0s%c" if picture.log_y else "%g"))
    if picture.x == "percentile":
        text += "set logscale x\nset xtics (%s)\n" % ", ".join(
            "'%s' %g" % (name, x_of("p" + name)) for name in PERCENTILES)
    elif picture.log_x:
        text += "set logscale x\nset format x '%.0s%c'\n"
    text += "set logscale y\n" if picture.log_y else "set yrange [0:*]\n"
    plots = []
    for number, (label, values) in enumerate(data):
        rows = "\n".join("%g %g %g %g" % row for row in values)
        text += "$d%d << EOD\n%s\nEOD\n" % (number, rows)
        plots.append("$d%d using 1:2:3:4 with yerrorlines lc rgb '%s' lw 2 pt 7 ps 0.5 title %s" % (
            number, COLOURS[number % len(COLOURS)], quoted(label)))
    return text + "plot " + ", \\\n  ".join(plots) + "\n"


def draw(pictures, results, directory):
    """Writes those that there are samples for; gives them."""
    drawn = []
    for picture in pictures:
        data = curves(picture, results)
        if not data:
            continue
        path = "%s/%s" % (directory, picture.file)
        subprocess.run(["gnuplot"], input=script(picture, data, path), text=True, check=True)
        drawn.append(picture)
    return drawn
