"""The work: which airport of a country lies farthest from all others. Plain Python that keeps a core busy.

It knows nothing of onward. The three examples beside it differ only in where this is computed.
"""

from __future__ import annotations

from functools import cache
from math import acos, cos, radians, sin
from typing import NamedTuple

import airportsdata

Point = tuple[float, float, float]

# The work grows with the square of the number of airports: beyond this a country takes minutes in plain Python.
MOST = 200
LEAST = 20
_EARTH_KM = 6_371.0


class Remote(NamedTuple):
    """The most remote airport of a country, and how far it is to its nearest neighbour there."""

    country: str
    airport: str
    km: int


@cache
def _places() -> dict[str, dict[str, Point]]:
    """Of each country its airports by code, each as a point on the unit sphere. Read once in every process."""
    found: dict[str, dict[str, Point]] = {}
    for code, airport in sorted(airportsdata.load("ICAO").items()):
        lat, lon = radians(airport["lat"]), radians(airport["lon"])
        point = (cos(lat) * cos(lon), cos(lat) * sin(lon), sin(lat))
        found.setdefault(airport["country"], {})[code] = point
    return found


def countries() -> list[str]:
    """Those with enough airports for the question, and few enough for the patience of a reader."""
    return [country for country, airports in sorted(_places().items()) if LEAST <= len(airports) <= MOST]


def most_remote(country: str) -> Remote:
    """Compares every airport of the country with every other one."""
    nearest: dict[str, float] = {}
    airports = list(_places()[country].items())
    for at, (code, (x, y, z)) in enumerate(airports):
        for other, (u, v, w) in airports[at + 1 :]:
            # The cosine of the angle between both: larger is nearer.
            near = x * u + y * v + z * w
            nearest[code] = max(near, nearest.get(code, -1.0))
            nearest[other] = max(near, nearest.get(other, -1.0))
    code = min(nearest, key=lambda one: (nearest[one], one))
    return Remote(country, code, round(_EARTH_KM * acos(min(1.0, nearest[code]))))


def show(found: Remote) -> None:
    """One line of a result."""
    print(f"{found.country}: {found.airport}, {found.km:,} km from the next", flush=True)
