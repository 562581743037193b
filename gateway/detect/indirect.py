"""Recognises instructions that stand where none belong: between the rows of a table, or in what a tool answers.

What a user asks for may be said in any words; a document that asks its reader's assistant for something is suspicious.
Stricter rules therefore hold for texts that nobody in the conversation has written.
"""

from collections.abc import Iterable, Iterator

from gateway.detect.patterns import TextPattern, compile_text
from gateway.hookspecs import Finding

# Deeds that people ask of assistants, and hardly of readers.
_DEED = (
    r"(?:write|compose|draft|translate|summari[sz]e|paraphrase|rephrase|rewrite|spell|misspell|encode|decode|encrypt"
    r"|decipher|convert|replace|reverse|capitali[sz]e|swap|substitute|scramble|modify|alter|adjust|integrate|incorporate"
    r"|embed|insert|include|append|prepend|mention|promote|advertise|recommend|advise|suggest|encourage|persuade"
    r"|emphasi[sz]e|highlight|tell|explain|describe|define|calculate|solve|generate|create|give|provide|answer|respond"
    r"|reply|state|list|name|compare|discuss|outline|identify|find|analy[sz]e|evaluate|group|remove|add|use|change"
    r"|shift|switch|output|print|repeat|begin|start|end|conclude|finish|craft|develop|design|propose|narrate|imagine"
    r"|pretend|act|roleplay|instruct|direct|invite|urge|warn|guide|teach|show|offer|share|link|redirect|refer|ask)"
)
_POLITE = (
    r"(?:please |kindly |now |then |also |next,? |instead,? |additionally,? |finally,? "
    r"|when (?:you )?(?:answer|reply|respond)ing,? )?"
)
_OUTPUT = (
    r"your (?:(?:next|final|whole|entire|own|full) )?"
    r"(?:answers?|responses?|reply|replies|output|summary|message)"
)
_QUESTION = (
    r"(?:what (?:is|are|was|were|does|do|did|would|causes?)|what's|who (?:is|was|were|wrote|invented|discovered|won)"
    r"|how (?:do|does|did|can|could|would|to|many|much)|why (?:is|are|do|does|did)|when (?:is|was|did|were)"
    r"|where (?:is|are|was)|which|can you|could you|would you|will you|do you know)\b"
)
_TASK = r"(?i:" + _POLITE + r"(?:" + _DEED + r"\b[^|\n]{8,}|" + _QUESTION + r"[^|\n]{4,}\?))"
_ANSWER = r"(?i:[^|\n]*\b" + _OUTPUT + r"\b[^|\n]*)"
# A line of prose between two rows of a table.
_BETWEEN = compile_text(
    r"\|[ \t]*\r?\n[ \t]*(?P<line>" + _TASK + "|" + _ANSWER + r")[ \t]*\r?\n[ \t]*\|"
)
# The same before or behind a table, in what nobody in the conversation has written.
_BESIDE = compile_text(
    r"\A\s*(?P<first>" + _TASK + r")[ \t]*\r?\n\s*\||\|[ \t]*\r?\n\s*(?P<last>" + _TASK + r")\s*\z"
)
_ROWS = compile_text(r"(?m)^[ \t]*\|.*\|[ \t]*\r?\n[ \t]*\|.*\|[ \t]*\r?\n")
# A whole line that tells how the answer is to be.
_ABOUT_THE_ANSWER = compile_text(
    r"(?im)^[ \t>*-]*(?:" + _POLITE + _DEED + r"\b[^\n]*\b" + _OUTPUT + r"\b[^\n]*"
    r"|(?:in|for|throughout|at the end of|at the beginning of) " + _OUTPUT + r",? " + _DEED + r"\b[^\n]*"
    # Any other deed, but no thanks for an answer, and nobody who tells of one.
    r"|[a-z]{4,14} [^\n.!?]*\b(?:in|throughout|within|into) " + _OUTPUT + r"[.!]?)$"
)
# What people ask each other for in an answer to a letter.
_CORRESPONDENCE = compile_text(
    r"(?i)\b(?:number|order|ticket|case|invoice|reference|subject line|date|availability|address|phone|contact details"
    r"|name|attachments?|screenshots?|receipt|documents?|details)\b"
)
# A demand that the code which follows becomes part of the answer.
_CODE = compile_text(
    r"(?im)^[ \t>*-]*[^\n]*\b(?:includ|inclusion|incorporat|integrat|embed|insert|add|ensur|put|merg|weav|interweav|use"
    r"|utili[sz]|implement|consider|enhanc|fold|work|blend|infus|appl|introduc|append|plac|adopt|employ|fus|combin"
    r"|assimilat)[^\n]*\b(?:your (?:\w+ )?(?:solution|code|coding|implementation|algorithm|answer|response|reply"
    r"|program|project|function|work|design|output|approach|application|development|script)"
    r"|the (?:code|program|script) (?:that )?you)\b[^\n]*\r?\n+```[^\n]*\n(?P<code>[^`]+)```"
)
# Code that deals with what is outside of it: the network, the system, other programs.
_DEALING = compile_text(
    r"(?i)requests\.\w+\(|urlopen|urlretrieve|\.connect\(|sendall|smtplib|ftplib|paramiko|fetch\(|socket\.|exec\(|eval\("
    r"|os\.environ|getenv|cookie|psutil|/etc/|/proc/|/dev/|getpass|keylog|scapy|winreg|subprocess|os\.(?:system|popen|walk)"
    r"|curl |wget |powershell|base64|glob\(|shutil\.|nohup"
)
# Code that hardly anybody is helped with.
_HARM = compile_text(
    r"(?i)\bdd if=|of=/dev/|/etc/(?:passwd|shadow|init|crontab|systemd)|rm -rf /|crypto-?_?min|\bminer\b|xmrig"
    r"|stratum\+|keylog|exploit|malware|ransom|/dev/tcp/|\bnc -|reverse.?shell|exec\((?:open|url|requests|base64)"
    r"|eval\((?:url|requests)|os\.system\([^)]*(?:reboot|shutdown|kill|mkfs)|systemctl (?:stop|disable)"
    r"|trash|recycle|dumpster|\btarget[.-_]?server"
    r"|(?:cookies?|environ|memory|getenv|lsusb|lspci|/proc/)(?s:.{0,300})(?:requests\.post|sendall|urlopen|sendmail)"
    r"|(?:requests\.post|sendall|sendmail)(?s:.{0,200})(?:cookies?|environ|virtual_memory|getenv)"
)
_LETTER = compile_text(r"(?i)\A\s{0,20}(?:>\s*)?(?:subject|from|email_from|received|date|reply-to)\s?:")


def in_any_text(text: str) -> Iterator[Finding]:
    """Prose between rows of a table, demands of harmful code, and in letters what is to be done to the answer."""
    if "|\n" in text or "| \n" in text or "|\r" in text:
        yield from _found(_BETWEEN.spans(text, "line"), 0.7)
    if "```" in text:
        yield from _code(text, _HARM)
    if _LETTER.found_in(text[:100]):
        yield from _about_the_answer(text)


def in_foreign_text(text: str) -> Iterator[Finding]:
    """What a tool's result or a document demands of the assistant that reads it."""
    yield from in_any_text(text)
    if "|" in text and _ROWS.found_in(text):
        yield from _found((*_BESIDE.spans(text, "first"), *_BESIDE.spans(text, "last")), 0.65)
    yield from _about_the_answer(text)
    if "```" in text:
        yield from _code(text, _DEALING)


def _about_the_answer(text: str) -> Iterator[Finding]:
    spans = _ABOUT_THE_ANSWER.spans(text)
    yield from _found([span for span in spans if not _CORRESPONDENCE.found_in(text[slice(*span)])], 0.65)


def _code(text: str, doing: TextPattern) -> Iterator[Finding]:
    spans = _CODE.spans(text, "code")
    yield from _found([span for span in spans if doing.found_in(text[slice(*span)])], 0.6)


def _found(spans: Iterable[tuple[int, int]], score: float) -> Iterator[Finding]:
    return (Finding(start, end, "indirect", score) for start, end in spans if 0 <= start < end)
