"""The channels of exec and attach over a WebSocket: the first byte of every message says which one it belongs to.

`v4.channel.k8s.io` tells the end on the error channel, as a Status; `v5.channel.k8s.io` adds a channel by which a
client closes its input (apimachinery/pkg/util/remotecommand, KEP-4006).
"""

from __future__ import annotations

from typing import Any

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
SUBPROTOCOLS = (V5, V4)
"""In the order of preference."""
NUMBERS = {"stdout": STDOUT, "stderr": STDERR}
NON_ZERO, EXIT_CODE = "NonZeroExitCode", "ExitCode"
SUCCESS: dict[str, Any] = {"metadata": {}, "status": "Success"}


def ended(words: tuple[str, ...], code: int) -> dict[str, Any]:
    """Return the Status of a command that has ended (kubelet: cri-streaming/remotecommand/exec.go)."""
    if code == 0:
        return SUCCESS
    why = f"error executing command [{' '.join(words)}], exit code {code}"
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: {why}",
        "reason": NON_ZERO,
        "details": {"causes": [{"reason": EXIT_CODE, "message": str(code)}]},
    }


def exit_code_of(status: dict[str, Any]) -> int | None:
    """Return the exit code that a Status tells; None where the command did not run, or nobody knows how it ended."""
    if status.get("status") == "Success":
        return 0
    if status.get("reason") == NON_ZERO:
        for cause in (status.get("details") or {}).get("causes") or ():
            if cause.get("reason") == EXIT_CODE and str(cause.get("message", "")).isdecimal():
                return int(cause["message"])
    return None
