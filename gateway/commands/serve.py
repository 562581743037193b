"""`gateway serve`: start the gateway and run until it is told to stop."""

import os
import threading
from pathlib import Path

import click

from gateway.commands import config_option, need_config


@click.command()
@config_option
def serve(config: Path | None) -> None:
    """Start the gateway.

    SIGTERM or Ctrl-C ends it: running streams may finish, a second signal hurries them. SIGHUP reads the
    configuration again.
    """
    from gateway.serve import serve as run

    status = run(need_config(config))
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        os._exit(status)  # a thread of something that could not be closed would keep Python from ending
    raise SystemExit(status)
