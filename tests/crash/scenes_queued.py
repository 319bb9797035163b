"""What the programs of `programs_queued` must come to."""

from crash.scenes import Scene

SCENES = (
    # The worker's thread, the hands' and the keeper's write in any order.
    Scene("queued", [40, 80], {"step": 2, "sleep": 1}, parallel=True),
    Scene("queued_bare", [20, 40, 60], {"step": 3}, concurrency=2, parallel=True),
    Scene("queued_plain", 40, {"step": 1}, parallel=True, plain=("plain-0", "plain-1", "plain-3")),
)
