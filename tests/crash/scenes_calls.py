"""What the programs of `programs_calls` must come to."""

from crash.scenes import Scene

SCENES = (
    # The failed step is executed again by the second call, in the same phase.
    Scene("reopened", [40, 80], {"step": 3}, again=1),
    Scene("methods", [21, 70, 9], {"step": 3}),
    Scene("drawn", [38], {"item": 4, "step": 4, "value": 4}, begins=True),
    Scene("loop_nested", None, {"item": 6}, concurrency=2, begins=True, silent=True),
    Scene("map_nested", [0, 10, 20, 30, 70], {"item": 4, "step": 5}, concurrency=2, parallel=True),
    Scene("map_completed", [0, 10, 20, 30, 40], {"item": 5}, concurrency=2, parallel=True),
)
