"""Plots as SVG, drawn here: a few lines or bars, axes with round numbers, nothing to load. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10

from services.loadtest.statistics import Moment

WIDTH, HEIGHT = 620, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 12, 42
COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4b5563")
_TICKS = 5
MOST_POINTS = 600


def line_chart(series: Mapping[str, Sequence[Moment]], x_label: str, y_label: str) -> str:
    """Return lines over a common pair of axes from 0; a series without points is only named."""
    thinned = {name: _thinned(points) for name, points in series.items()}
    everything = [point for points in thinned.values() for point in points]
    x_ticks = ticks(max((x for x, _ in everything), default=0.0))
    y_ticks = ticks(max((y for _, y in everything), default=0.0))
    scale = _Scale(x_ticks[-1], y_ticks[-1])
    parts = [_axes(scale, x_ticks, y_ticks, x_label, y_label)]
    for colour, points in zip(_colours(len(thinned)), thinned.values(), strict=True):
        path = " ".join(f"{scale.x(x):.1f},{scale.y(y):.1f}" for x, y in points)
        if len(points) == 1:
            parts.append(
                f'<circle cx="{scale.x(points[0][0]):.1f}" cy="{scale.y(points[0][1]):.1f}" r="3" fill="{colour}"/>'
            )
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
    return _figure(parts, list(thinned), f"{y_label} over {x_label}")


def bar_chart(groups: Mapping[str, Mapping[str, float]], y_label: str) -> str:
    """Return groups of bars: group -> series -> value. Every group is given a place for every series."""
    names = list(dict.fromkeys(name for values in groups.values() for name in values))
    y_ticks = ticks(max((value for values in groups.values() for value in values.values()), default=0.0))
    scale = _Scale(max(1, len(groups)), y_ticks[-1])
    parts = [_axes(scale, [], y_ticks, "", y_label)]
    width = 0.8 / max(1, len(names))
    for number, (group, values) in enumerate(groups.items()):
        for place, (name, colour) in enumerate(zip(names, _colours(len(names)), strict=True)):
            value = values.get(name, 0.0)
            x, y = scale.x(number + 0.1 + place * width), scale.y(value)
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{scale.x(width) - scale.x(0) - 1:.1f}" '
                f'height="{scale.y(0) - y:.1f}" fill="{colour}"><title>{escape(group)}, {escape(name)}: '
                f"{value:.4g}</title></rect>"
            )
        parts.append(
            f'<text x="{scale.x(number + 0.5):.1f}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">'
            f"{escape(group)}</text>"
        )
    return _figure(parts, names, y_label)


def ticks(most: float) -> list[float]:
    """Return round numbers from 0 to at least `most`, some five of them."""
    if most <= 0:
        return [0.0, 1.0]
    rough = most / _TICKS
    unit = 10.0 ** floor(log10(rough))
    step = next(each * unit for each in (1, 2, 2.5, 5, 10) if each * unit >= rough)
    return [step * number for number in range(ceil(most / step - 1e-9) + 1)]


class _Scale:
    def __init__(self, x_most: float, y_most: float) -> None:
        self._x = (WIDTH - _LEFT - _RIGHT) / x_most
        self._y = (HEIGHT - _TOP - _BOTTOM) / y_most

    def x(self, value: float) -> float:
        return _LEFT + value * self._x

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - value * self._y


def _axes(
    scale: _Scale, x_ticks: Sequence[float], y_ticks: Sequence[float], x_label: str, y_label: str
) -> str:
    bottom = HEIGHT - _BOTTOM
    parts = [f'<text x="{_LEFT}" y="{HEIGHT - 6}" class="label">{escape(x_label)}</text>'] if x_label else []
    for value in y_ticks:
        y = scale.y(value)
        parts.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:,g}</text>')
    for value in x_ticks:
        parts.append(
            f'<text x="{scale.x(value):.1f}" y="{bottom + 16}" text-anchor="middle">{value:,g}</text>'
        )
    parts.append(
        f'<text transform="translate(12 {(_TOP + bottom) / 2:.0f}) rotate(-90)" text-anchor="middle" class="label">'
        f"{escape(y_label)}</text>"
    )
    return "".join(parts)


def _figure(parts: Sequence[str], names: Sequence[str], title: str) -> str:
    keys = "".join(
        f'<span><i style="background:{colour}"></i>{escape(name)}</span>'
        for colour, name in zip(_colours(len(names)), names, strict=True)
    )
    drawing = "".join(parts)
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">{drawing}'
        f"</svg><figcaption>{keys}</figcaption></figure>"
    )


def _colours(count: int) -> list[str]:
    return [COLOURS[number % len(COLOURS)] for number in range(count)]


def _thinned(points: Sequence[Moment]) -> Sequence[Moment]:
    """Return at most MOST_POINTS of many points: the highest of each stretch, so that no peak is lost."""
    if len(points) <= MOST_POINTS:
        return points
    size = ceil(len(points) / MOST_POINTS)
    return [
        max(points[start : start + size], key=lambda point: point[1]) for start in range(0, len(points), size)
    ]
