"""Kills of a process at a chosen call of the system that changes the disk."""

import os
import signal
from collections.abc import Callable


def die_at(step: int) -> None:
    """Kill this process at its n-th call that makes a change on the disk last."""
    left = [step]

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def dying(*arguments: object, **named: object) -> object:
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return call(*arguments, **named)

        return dying

    for name in ("fsync", "unlink", "rename", "replace"):
        setattr(os, name, counted(getattr(os, name)))
