"""The process in which one file is read: limits as JSON on its command line, the file as input, `FileText` as output.

It has no credential, little memory and little time; `reader.py` starts it and ends it.
"""

import logging
import resource
import sys
import warnings

import msgspec

from gateway.files.extract import extract
from gateway.files.kinds import Limits


def main() -> None:
    """Read, and write what was read."""
    limits = msgspec.json.decode(sys.argv[1], type=Limits)
    resource.setrlimit(resource.RLIMIT_AS, (limits.max_memory, limits.max_memory))
    seconds = int(limits.timeout) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable()  # libraries quote what they read
    warnings.simplefilter("ignore")
    told = extract(sys.stdin.buffer.read(), limits)
    sys.stdout.buffer.write(msgspec.msgpack.encode(msgspec.structs.replace(told, text=_whole(told.text))))


def _whole(text: str) -> str:
    """Without halves of characters, which no UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


if __name__ == "__main__":
    main()
