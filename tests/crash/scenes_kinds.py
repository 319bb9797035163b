"""What the programs of `programs_kinds` must come to: an item for each element of the source."""

from __future__ import annotations

from crash.scenes import Scene

SCENES = (
    Scene("kind_dict", None, {"item": 3}, begins=True, alike=True),
    Scene("kind_pairs", None, {"item": 3}, begins=True, alike=True),
    Scene("kind_generator", None, {"item": 4}, begins=True, alike=True),
    Scene("kind_async_generator", None, {"item": 3}, begins=True, silent=True, alike=True),
    Scene("kind_lines", None, {"item": 4}, begins=True, alike=True),
    Scene("kind_folder", None, {"item": 3}, begins=True, ends="waiting", alike=True),
    Scene("kind_dbapi", None, {"item": 3}, begins=True, alike=True),
    Scene("kind_sqlalchemy", None, {"item": 3}, begins=True, alike=True),
    Scene("kind_pandas", None, {"item": 3}, begins=True, alike=True),
    Scene("kind_polars", None, {"item": 3}, begins=True, alike=True),
    Scene("kind_repeats", None, {"item": 3}, begins=True, alike=True),
    Scene("several_loops", None, {"item": 3}, begins=True, alike=True),
)
