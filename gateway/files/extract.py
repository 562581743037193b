"""From bytes to `FileText`, files inside files included. Can be slow and large: `reader.py` runs it in a process."""

import shutil
import subprocess
from html.parser import HTMLParser

from gateway.files.kinds import FileText, Kind, Limits, UnreadableFile, decoded, kind_of
from gateway.files.office import read_office
from gateway.files.pdf import read_pdf


def extract(data: bytes, limits: Limits) -> FileText:
    """What a file says. A file that cannot be read gives its reason; nothing is raised."""
    kind = kind_of(data)
    try:
        text, pages = _read(data, kind, limits, 0)
    except UnreadableFile as error:
        return FileText(kind, reason=error.reason)
    except (MemoryError, RecursionError):
        return FileText(kind, reason="too_large")
    except Exception:  # whatever a parser raises for what no file of its kind has in it
        return FileText(kind, reason="damaged")
    return FileText(kind, text, pages)


def _read(data: bytes, kind: Kind, limits: Limits, depth: int) -> tuple[str, int]:
    if len(data) > limits.max_bytes:
        raise UnreadableFile("too_large")
    text, pages, inside = _content(data, kind, limits)
    texts = [text]
    if inside and depth >= limits.max_depth:
        raise UnreadableFile("nested")
    texts.extend(_read(one, kind_of(one), limits, depth + 1)[0] for one in inside)
    if sum(map(len, texts)) > limits.max_characters:
        raise UnreadableFile("too_large")
    return "\n".join(texts), pages


def _content(data: bytes, kind: Kind, limits: Limits) -> tuple[str, int, list[bytes]]:
    if kind == "pdf":
        return read_pdf(data, limits)
    if kind in ("docx", "xlsx", "pptx"):
        return read_office(data, limits)
    if kind == "image":
        return (_seen(data, limits) if limits.ocr else ""), 0, []
    if kind == "sound":
        return "", 0, []
    if kind == "empty":
        raise UnreadableFile("empty")
    if kind == "encrypted":
        raise UnreadableFile("encrypted")
    text = decoded(data)
    if text is None or kind == "unknown":
        raise UnreadableFile("unsupported")
    return (_shown(text) if kind == "markup" else text), 0, []


def _seen(data: bytes, limits: Limits) -> str:
    """The text in a picture."""
    program = shutil.which("tesseract")
    if program is None:
        raise UnreadableFile("no_reader")
    command = [program, "stdin", "stdout", "-l", limits.languages]
    try:
        # No shell; the words of the command are the gateway's own and one checked option, the picture is its input.
        done = subprocess.run(command, input=data, capture_output=True, timeout=limits.timeout, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise UnreadableFile("too_slow") from None
    if done.returncode != 0:
        raise UnreadableFile("damaged")
    return done.stdout.decode("utf-8", "replace")


def _shown(text: str) -> str:
    """What a browser would show of a page, and its source: what is hidden in it, a model reads too."""
    page = _Page(convert_charrefs=True)
    page.feed(text)
    page.close()
    return "".join(page.said) + "\n" + text


class _Page(HTMLParser):
    """The characters between tags."""

    def __init__(self, *, convert_charrefs: bool) -> None:
        super().__init__(convert_charrefs=convert_charrefs)
        self.said: list[str] = []

    def handle_data(self, data: str) -> None:
        """Keep them."""
        self.said.append(data)
