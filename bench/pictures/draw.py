"""A dashboard's picture, by matplotlib: one SVG on a ground of its own, so that it can be read on a dark page, too."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from bench.pictures import layout
from bench.pictures.boards import Board
from bench.pictures.caption import lines
from bench.pictures.layout import Place
from bench.pictures.samples import Asked, Samples, Series
from bench.pictures.shapes import or_nan, runs, stacked
from bench.pictures.units import scale, text

GROUND, PANEL, LINE, INK, SOFT, FAULT = "#f6f8fa", "#ffffff", "#d0d7de", "#1f2328", "#59636e", "#cf222e"
PALETTE = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#9a6700", "#bf3989", "#0e8a8a", "#57606a", "#a40e26", "#3b6ea5")
"""Each is told from white by 4.5 : 1 at least."""
CLASSES = {"2xx": "#1a7f37", "3xx": "#0969da", "4xx": "#9a6700", "5xx": "#cf222e"}
COLOURS = {"green": "#1a7f37", "red": "#cf222e"}
LEGEND_LINES = 3
MOST_LINES = 10
_FONTS = "DejaVu Sans, Verdana, Arial, sans-serif"
_SETTINGS = {
    "svg.fonttype": "none", "svg.hashsalt": "baas-operator", "path.simplify": True, "path.simplify_threshold": 0.4,
    "font.family": "sans-serif", "font.size": 7, "axes.linewidth": 0.5, "axes.edgecolor": LINE, "text.color": INK,
    "xtick.color": SOFT, "ytick.color": SOFT, "axes.unicode_minus": False,
}  # fmt: skip


class Picture:
    """One dashboard's."""

    def __init__(self, board: Board, samples: Samples, found: Sequence[Asked]) -> None:
        self._samples, self._found = samples, {each.title: each for each in found}
        self._at = [samples.start + number * samples.step for number in range(max(_length(each) for each in found))]
        told = lines(samples)
        self._sheet = layout.sheet([each for each in board.panels if each.title in self._found], len(told))
        with plt.rc_context(_SETTINGS):
            self.figure = plt.figure(figsize=(layout.WIDTH, self._sheet.height), facecolor=GROUND)
            self._say(layout.GAP, 0.26, board.title, size=13, weight="bold")
            self._say(layout.GAP, 0.47, board.description, size=8, color=SOFT)
            for heading, y in self._sheet.headings:
                self._say(layout.GAP, y + 0.17, heading, size=9, weight="bold")
            for place in self._sheet.places:
                self._panel(place, self._found[place.panel.title])
            for number, line in enumerate(told):
                self._say(layout.GAP, self._sheet.caption + layout.CAPTION_LINE * (number + 0.8), line, size=7.5, color=SOFT)

    def svg(self) -> str:
        """The file's text; the same for the same samples."""
        with plt.rc_context(_SETTINGS):
            target = StringIO()
            self.figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None}, facecolor=GROUND)
        return slim(target.getvalue())

    def save_png(self, path: Path) -> None:
        """As pixels, to look at it."""
        with plt.rc_context(_SETTINGS):
            self.figure.savefig(path, format="png", dpi=110, facecolor=GROUND)

    def close(self) -> None:
        plt.close(self.figure)

    def _say(self, x: float, y: float, words: str, *, size: float, color: str = INK, **more: Any) -> None:
        self.figure.text(x / layout.WIDTH, 1 - y / self._sheet.height, words, fontsize=size, color=color, **more)

    def _axes(self, x: float, y: float, width: float, height: float) -> Any:
        whole = (layout.WIDTH, self._sheet.height)
        return self.figure.add_axes((x / whole[0], 1 - (y + height) / whole[1], width / whole[0], height / whole[1]))

    def _ground(self, place: Place) -> None:
        whole = (layout.WIDTH, self._sheet.height)
        corner = (place.x / whole[0], 1 - (place.y + place.height) / whole[1])
        size = (place.width / whole[0], place.height / whole[1])
        self.figure.add_artist(plt.Rectangle(corner, *size, facecolor=PANEL, edgecolor=LINE, linewidth=0.6, zorder=-1))

    def _panel(self, place: Place, asked: Asked) -> None:
        self._ground(place)
        if place.panel.kind == "stat":
            self._stat(place, asked)
        else:
            self._lines(place, asked)

    def _stat(self, place: Place, asked: Asked) -> None:
        """The last value, and below it all of them: by its colour where thresholds give one."""
        panel = place.panel
        for number, line in enumerate(textwrap.wrap(panel.title, int((place.width - 0.16) / layout.CHARACTER))):
            self._say(place.x + 0.08, place.y + 0.19 + 0.13 * number, line, size=6.5, color=SOFT)
        if not asked.series:
            self._say(place.x + 0.08, place.y + 0.66, "none yet", size=13, color=SOFT)
            return
        values = asked.series[0].values
        last = asked.series[0].seen[-1]
        color = COLOURS.get(panel.colour(last), INK)
        self._say(place.x + 0.08, place.y + 0.67, text(panel.unit, last, panel.texts), size=16, weight="bold", color=color)
        axes = self._axes(place.x + 0.08, place.y + place.height - 0.27, place.width - 0.16, 0.17)
        axes.set_axis_off()
        axes.set_xlim(self._at[0], self._at[-1])
        if panel.steps:
            axes.set_ylim(0, 1)
            for begin, end, value in runs(self._at, values):
                shade = COLOURS.get(panel.colour(value), SOFT)
                axes.axvspan(begin, end, facecolor=shade, alpha=0.75, linewidth=0)
        else:
            axes.plot(self._at, [or_nan(each) for each in values], color=PALETTE[0], linewidth=1)
        axes.axvline(0, color=INK, linewidth=0.7)

    def _lines(self, place: Place, asked: Asked) -> None:
        panel = place.panel
        drawn = [one for one in asked.series if any(one.seen) or not panel.stacked]
        shown = sorted(drawn, key=lambda one: -max(one.seen))[:MOST_LINES]
        shown.sort(key=lambda one: (one.target, one.name))
        sums = stacked(shown) if panel.stacked else [[or_nan(each) for each in one.values] for one in shown]
        greatest = max((value for one in sums for value in one if value == value), default=0.0)
        factor, words = scale(panel.unit, greatest)
        self._say(place.x + 0.08, place.y + 0.19, panel.title, size=7.5, weight="bold")
        if words:
            self.figure.text(
                (place.x + place.width - 0.08) / layout.WIDTH, 1 - (place.y + 0.19) / self._sheet.height, words,
                fontsize=6.5, color=SOFT, ha="right",
            )  # fmt: skip
        names = [each.name for each in shown]
        rows = layout.legend_lines(names, place.width - 0.16, LEGEND_LINES)
        below = 0.22 + 0.145 * len(rows)
        axes = self._axes(place.x + 0.46, place.y + 0.28, place.width - 0.58, place.height - 0.28 - below)
        self._frame(axes)
        for number, (one, values) in enumerate(zip(shown, sums, strict=True)):
            scaled = [value * factor for value in values]
            color = self._colour(one, number)
            # Those below are wider: of lines that lie upon each other all can be seen.
            axes.plot(self._at, scaled, color=color, linewidth=1.1 + 0.5 * min(len(shown) - 1 - number, 4), solid_joinstyle="round")
            if panel.stacked:
                under = [value * factor for value in sums[number - 1]] if number else [0.0] * len(scaled)
                axes.fill_between(self._at, under, scaled, color=color, alpha=0.18, linewidth=0)
        counts = not words and all(value == int(value) for one in shown for value in one.seen)
        self._ends(axes, panel.low, panel.high, greatest * factor, factor, words, counts)
        if not shown:
            axes.text(0.5, 0.5, "nothing to show", transform=axes.transAxes, ha="center", va="center", fontsize=7, color=SOFT)
        for line, row in enumerate(rows):
            x = place.x + 0.1
            y = place.y + place.height - below + 0.3 + 0.145 * line
            for number in row:
                self._say(x, y, "■", size=6.5, color=self._colour(shown[number], number))
                self._say(x + 0.11, y, names[number], size=6.5, color=SOFT)
                x += layout.entry_width(names[number])
            if line == len(rows) - 1 and (rest := len(drawn) - sum(map(len, rows))):
                self._say(x, y, f"and {rest} more", size=6.5, color=SOFT)

    def _frame(self, axes: Any) -> None:
        axes.set_facecolor(PANEL)
        axes.set_xlim(self._at[0], self._at[-1])
        axes.grid(axis="y", color="#eaeef2", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.tick_params(length=2, width=0.4, labelsize=6.5, pad=1.5)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 3, 6, 10], integer=True))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} s")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        if self._samples.ended is not None:
            axes.axvspan(0, self._samples.ended, facecolor=FAULT, alpha=0.07, linewidth=0)
            for at in (0, self._samples.ended):
                axes.axvline(at, color=FAULT, linewidth=0.8, dashes=(3, 2))
        for at, _ in self._samples.marks:
            if self._samples.ended is None or 0 < at < self._samples.ended:
                axes.axvline(at, color=FAULT, linewidth=0.4, alpha=0.5)

    @staticmethod
    def _ends(axes: Any, low: float | None, high: float | None, greatest: float, factor: float, words: str, counts: bool) -> None:
        """The axis of values: of the panel where it says so, and never so narrow that noise looks like news."""
        least = 1.0 if not words else greatest * 0.05 or 1.0
        top = high * factor * 1.04 if high is not None else max(greatest * 1.08, least)
        axes.set_ylim(low * factor if low is not None else None, top)
        axes.yaxis.set_major_locator(MaxNLocator(4, min_n_ticks=2, integer=counts))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")

    @staticmethod
    def _colour(series: Series, number: int) -> str:
        return CLASSES.get(series.name, PALETTE[number % len(PALETTE)])


def _length(asked: Asked) -> int:
    return max((len(each.values) for each in asked.series), default=0)


def slim(svg: str) -> str:
    """The same in fewer bytes: places to a tenth of a pixel, fonts named once, and lengths in pixels, which every program takes."""
    svg = re.sub(r'\bd="[^"]*"|\b[xy]="[^"]*"', lambda found: _places(found[0]), svg)
    svg = re.sub(r"\n +<", "\n<", svg)
    svg = re.sub(r' transform="rotate\(-?0 [^"]*\)"', "", svg)
    svg = re.sub(r"font-family: [^;]*?sans-serif; ", "", svg)
    svg = re.sub(r'(width|height)="([\d.]+)pt"', r'\1="\2"', svg, count=2)
    return svg.replace('<style type="text/css">', f'<style type="text/css">text{{font-family: {_FONTS}}} ', 1)


def _places(attribute: str) -> str:
    """A path or a coordinate, shorter."""
    shorter = re.sub(r"-?\d+\.\d\d+", lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), attribute)
    return re.sub(r"([LMCz]) (?=-?\d)", r"\1", re.sub(r"\s*\n\s*", "", shorter))
