"""Serve a small shop's profile to apps in other languages, until Ctrl-C.

    python examples/serve_shop.py [DIRECTORY]

Prints the socket and a token for an app that may act on `home`. Nothing here opens a connection:
the socket is a file that only this user can open. For a profile of your own there is
`tacit device serve`; this shows what it does.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

from tacit.client import Catalogue, FileKeyProvider, Personalizer
from tacit.client.service import EVERYDAY_VERBS, PersonalizerServer

ITEMS = [
    ("kettle", "Copper kettle", ["Kitchen"]),
    ("teapot", "Stoneware teapot", ["Kitchen"]),
    ("tin", "Tea tin", ["Kitchen"]),
    ("lamp", "Brass desk lamp", ["Study"]),
    ("chair", "Oak reading chair", ["Study"]),
    ("rake", "Garden rake", ["Garden"]),
    ("hose", "Rubber garden hose", ["Garden"]),
]


def main(folder: Path) -> None:
    catalogue, keys = Catalogue.build(ITEMS), FileKeyProvider(folder / "device.key")

    def opened() -> Personalizer:
        # Without exploration, so that the output is the same each time.
        return Personalizer.open(folder / "profile.db", keys, catalogue, exploration=None)

    with PersonalizerServer(folder / "run" / "tacit.sock", opened, keys) as server:
        held = {grant.app for grant in server.tokens.grants()}
        if "node-shop" in held:
            server.tokens.revoke("node-shop")
        token = server.tokens.issue("node-shop", EVERYDAY_VERBS, ["home"], issued_at_ms=0)
        print(f"export TACIT_SOCKET={server.socket} TACIT_TOKEN={token}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    # Blocked here, so that threads inherit it and only `sigwait` takes them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory(prefix="tacit-") as made:
            main(Path(made))
