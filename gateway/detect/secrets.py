"""Finds secrets: issued keys and tokens by their formats, passwords and keys by the names that they are assigned to.

Random-looking text alone is no secret here: hashes, ids and pictures look the same. Placeholders and references to
where a secret is kept (`${TOKEN}`, `os.environ[...]`) are none either.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

from gateway.detect import secret_formats
from gateway.detect.patterns import Match, PatternSet, compile_text
from gateway.detect.spans import Span, View, resolve
from gateway.detect.vocabulary import NO_SECRETS

KIND = "SECRET"
# A password in an address is known only at its `@`; a token's head is much shorter.
HOLD_BACK = 256
_PLACEHOLDERS = (
    "your", "example", "changeme", "change_me", "change-me", "placeholder", "dummy", "sample", "xxxx", "****", "....",
    "redacted", "hidden", "masked", "insert", "replace", "enter", "todo", "fixme", "<", ">", "${", "{{", "$(", "%(",
    "environ", "getenv", "process.env", "env.", "secrets.", "vault:", "config.", "settings.", "self.", "foobar", "fake",
    "undefined", "notasecret", "not_a_secret", "-----", "____", "•", "mysecret", "my_secret", "my-secret", "secretref",
    "keyvault", "arn:", "op://", "1234567890abcdef", "0123456789abcdef", "abcdefghij", "0000000000",
)  # fmt: skip
_NAMES = {
    "password": (
        r"pass(?:word|wd|code|phrase|wort)?s?|pwd|pw|passwd|kennwort|contrase(?:\xF1|n)a|clave|mot de passe|mdp|senha|"
        r"parola|has\?o|haslo|wachtwoord|l\xF6senord|adgangskode|salasana|\?ifre|sifre|heslo|jelsz\?"
    ),
    "key": (
        r"(?:api|app|access|auth|secret|private|encryption|signing|master|service|account|shared|subscription|license|"
        r"storage|session|consumer|client|deploy|webhook|admin|root|bot|user|project|x|hmac|jwt)[ _.\-]?"
        r"(?:access[ _.\-]?)?(?:key|token|secret|pat)(?:[ _.\-]?(?:id|base|value|string))?"
        r"|apikey|secret|token|credentials?|creds|client[ _.\-]?secret|bearer|pat|auth|sharedaccesskey|accountkey"
    ),
}
_ASSIGN = r"[\"'`\]*]{0,3}\s{0,3}(?::=|=>|->|==|[=:>\xBB]|\?)\s{0,3}(?:[bru]?[\"'`*]{1,3})?"
_SAY = (
    r"(?:\s(?:for|of|to|f\xFCr|zu|zum|von|de|del|della|pour|para|per|on|at|in)\s[\w@.'\-]{1,40}(?:\s[\w@.'\-]{1,40}){0,2})?"
    r"[\"'`]?\s(?:is|was|are|ist|lautet|war|est|es|\xE8|\xE9|jest|becomes|equals|to|:|=)\s?:?\s{0,2}[\"'`]{0,3}"
)
_VALUE = r"([^\s\"'`,;<>]{4,200}[^\s\"'`,;<>)\]}.:?]|[^\s\"'`,;<>]{6,200})"
_PASSWORD = rf"(?i)(?:^|[^a-z])(?:{_NAMES['password']})(?:{_ASSIGN}|{_SAY}){_VALUE}"
_KEY = rf"(?i)(?:{_NAMES['key']})(?:{_ASSIGN}|{_SAY}){_VALUE}"
_NAMED_KEY = r"(?i)\b(?:token|key|secret|bearer|credential)\s[\"'`(]?([A-Za-z0-9+/_=\-]{20,200})"
_LABELLED_KEY = (
    r"(?i)(?:api|secret|access|auth|private|encryption|signing|license)[ _\-]?(?:key|token|secret|credential)"
    r"[^\n]{0,24}?"
    r"[\s:=\"'`(]([A-Za-z0-9+/_=\-]{20,200})"
)
_FLAG = (
    r"(?i)(?:--?(?:password|passwd|pass|pwd|token|secret|api-?key|access-?key|auth|key)[ =]|\s-u\s+[^\s:'\"]{1,64}:|"
    r"sshpass\s+-p\s*|identified\s+by\s+|\bpassword\s+|\blogin\s+\S{1,64}\s+password\s+)[\"'`]?([^\s\"'`,;<>]{6,200})"
)
_PAIR = (
    r"(?i)(?:login|log in|logins|credentials?|creds|user(?:name)? ?(?:/|and) ?pass(?:word)?|zugangsdaten|account)"
    r"(?:\s(?:are|is|with|as|for|mit|using|sind))*[\s:=]{1,3}[\"'`]?[\w.@+\-]{2,64}[\"'`]?\s?[/:|]\s?[\"'`]?"
    r"([^\s\"'`,;<>/]{6,64})"
)
_CONNECTION = r"(?i)(?:AccountKey|SharedAccessKey|SharedSecretValue|Password|Pwd)\s?=\s?[\"']?([^;\s\"'&]{6,200})"


class Secrets:
    """Finds secrets; what is less sure than `min_score` is left out."""

    def __init__(self, min_score: float = 0.5) -> None:
        self._min_score = min_score
        self._rules = _rules()
        self._set = PatternSet([rule[0] for rule in self._rules], [rule[1] for rule in self._rules])

    def scan(self, text: str, own: Sequence[Span] = ()) -> list[Span]:
        """All that was found, and the caller's `own`, in order, without overlaps; positions are those of `text`."""
        view = View(text)
        found = [span for span in self._found(view) if span.score >= self._min_score]
        if view.folded.origin is not None:
            found = [view.original(span) for span in found]
        found += own
        return resolve(found) if len(found) > 1 else found

    def settled(self, text: str) -> int:
        """How many characters at the front keep their findings whatever text follows: a secret is one word, or begins
        with the line that announces a private key."""
        low = max(0, len(text) - HOLD_BACK)
        head = max(text.rfind("-----BEGIN"), text.rfind("PuTTY-User-Key"))
        if head > text.rfind("-----END"):
            return max(low, min(head, len(text)))
        before = text[low:].rstrip("-BEGIN ")
        word = before.rsplit(None, 1)[-1] if before and not before[-1].isspace() else ""
        return low + len(before) - len(word)

    def _found(self, view: View) -> Iterator[Span]:
        for number in self._set.hits(view.data):
            _, _, judge = self._rules[number]
            for match in self._set.find(number, view.data):
                if (span := judge(view, match)) is not None:
                    yield span
        if not view.text.isascii():
            for start, end in _OTHER_SCRIPTS.spans(view.text, "value"):
                if _looks_like_password(view.text[start:end]):
                    yield Span(start, end, KIND, 0.8)


Judge = Callable[[View, Match], Span | None]


def _rules() -> list[tuple[str, str, Judge]]:
    prefixed = r"(?:^|[^A-Za-z0-9])(" + "|".join(secret_formats.PREFIXED) + r")"
    password, key = partial(_assigned, password=True), partial(_assigned, password=False)
    return [
        (prefixed, prefixed, _issued),
        (secret_formats.JWT, r"\beyJ[A-Za-z0-9_\-]{12}", _whole),
        (secret_formats.PRIVATE_KEY, "PRIVATE KEY|PuTTY-User-Key", _whole),
        (secret_formats.WEBHOOK, r"https://[a-z.]*(?:hooks?\.|discord)", _whole),
        (secret_formats.CONNECTION, r"://[^\s/:@\"'<>]*:[^\s/\"'<>]+@", _connection),
        (secret_formats.USERINFO, secret_formats.USERINFO, _random),
        (secret_formats.USERINFO_PAIR, r"://[^\s/:@\"'<>]*:[^\s/\"'<>]+@", _in_url),
        (secret_formats.AUTHORIZATION, r"(?i)\b(?:bearer|basic|authorization)\b", key),
        (secret_formats.SIGNATURE, secret_formats.SIGNATURE, _random),
        (_PASSWORD, rf"(?i)(?:{_NAMES['password']})[^a-z0-9]", password),
        (_KEY, r"(?i)(?:key|token|secret|credentials?|creds|pat|auth|bearer)[^a-z]", key),
        (_NAMED_KEY, _NAMED_KEY, _random),
        (_LABELLED_KEY, r"(?i)(?:key|token|secret|credential)[^\n]{0,24}?[\s:=\"'`(][A-Za-z0-9+/_=\-]{20}", _random),
        (_FLAG, r"(?i)-(?:pass|pwd|token|secret|api|key|auth|access|u|p)|identified|password", password),
        (_PAIR, r"(?i)(?:log ?in|cred|user|zugang|account)[^\n]{1,90}[/:|]", password),
        (_CONNECTION, r"(?i)(?:key|value|password|pwd)\s?=", password),
    ]


def _whole(view: View, match: Match) -> Span | None:
    start, end = match.span()
    return None if _placeholder(view.text[start:end][:200], formatted=True) else Span(start, end, KIND, 0.98)


def _issued(view: View, match: Match) -> Span | None:
    start, end = match.span(1)
    value = view.text[start:end]
    random = value.isupper() or sum(sign.isdigit() for sign in value) >= 2 or _entropy(value) > 3.8
    if _placeholder(value, formatted=True) or len(set(value)) < 9 or not random or _spoken(value):
        return None
    return Span(start, end, KIND, 0.97)


def _connection(view: View, match: Match) -> Span | None:
    if _in_url(view, match) is None:
        return None
    start, end = match.span()
    return Span(start, end - (view.text[end - 1] in ".:!?"), KIND, 0.9)


def _in_url(view: View, match: Match) -> Span | None:
    start, end = match.span(1)
    value = view.text[start:end]
    if "@" in value:
        start_of_host = value.rindex("@")
        end, value = start + start_of_host, value[:start_of_host]
    if _placeholder(value) or value.isdigit() or value.lower() in _WORDS or value.startswith(("$", "%", ":", "{", "[")):
        return None
    return Span(start, end, KIND, 0.85)


def _random(view: View, match: Match) -> Span | None:
    start, end = match.span(1)
    value = view.text[start:end]
    return None if not _looks_random(value) or _placeholder(value) else Span(start, end, KIND, 0.8)


def _assigned(view: View, match: Match, *, password: bool) -> Span | None:
    start, end = match.span(1)
    value = view.text[start:end]
    value = _unwrapped(value)
    end = start + len(value)
    if len(value) < 6 or _placeholder(value) or _code(value):
        return None
    if password:
        quoted = view.text[start - 1] in "\"'`>" and len(value) >= 10 and _RAGGED.found_in(value)
        return Span(start, end, KIND, 0.8) if quoted or _looks_like_password(value) else None
    return Span(start, end, KIND, 0.8) if len(value) >= 12 and _looks_random(value) else None


def _unwrapped(value: str) -> str:
    # What closes a bracket that was opened before the value, or ends a sentence, is not part of it.
    for opener, closer in ("()", "[]", "{}"):
        while value.endswith(closer) and opener not in value:
            value = value[:-1]
    value = value.partition("&")[0] if "&" in value and "=" in value.partition("&")[2] else value
    return value.rstrip(".:") if not value.endswith("..") else value


def _looks_like_password(value: str) -> bool:
    letters, digits = sum(map(str.isalpha, value)), sum(map(str.isdigit, value))
    signs = len(value) - letters - digits
    if not letters:
        return digits >= 6 and not signs
    if value.lower() in _WORDS or len(set(value)) < 4:
        return False
    cases = any(map(str.islower, value)) and any(map(str.isupper, value))
    if digits and (len(value) >= 8 or signs or letters >= 4):
        return not _dated(value)
    return bool(signs) and cases and any(sign in "!@#$%^&*?+~" for sign in value) and len(value) >= 8


def _looks_random(value: str) -> bool:
    letters, digits = sum(map(str.isalpha, value)), sum(map(str.isdigit, value))
    if len(value) < 12 or not letters or _spoken(value):
        return False
    if digits < 2 and not (len(value) >= 20 and _entropy(value) > 3.7 and _mixed(value)):
        return False
    return _entropy(value) > (2.6 if len(value) < 20 else 2.9)


def _mixed(value: str) -> bool:
    plain = "".join(filter(str.isalpha, value))
    changes = sum(a.islower() and b.isupper() for a, b in pairwise(plain))
    return changes >= len(plain) // 8


def _spoken(value: str) -> bool:
    # Words joined by signs, `my-second-deploy-key-2024`: names, not secrets.
    parts = [part for part in value.replace("_", "-").replace(".", "-").replace("/", "-").split("-") if part]
    words = ((part.isdigit() and len(part) <= 4) or (part.isalpha() and len(part) <= 12) for part in parts)
    return len(parts) > 2 and all(words)


def _placeholder(value: str, *, formatted: bool = False) -> bool:
    low = value.lower()
    if formatted:  # a random token can hold any four letters by chance, so only the long words count
        return any(word in low for word in (*_PLACEHOLDERS[:13], "1234567890abcdef", "abcdefghij"))
    return any(word in low for word in _PLACEHOLDERS) or _REFERENCE.found_in(value)


def _code(value: str) -> bool:
    return _CODE.found_in(value)


def _dated(value: str) -> bool:
    return all(sign.isdigit() or sign in "-/:.TZ+" for sign in value)


def _entropy(value: str) -> float:
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in (value.count(sign) for sign in set(value)))


_CODE = compile_text(
    r"^[A-Za-z_][\w.]*[(\[]|^[A-Za-z_]+\.[A-Za-z_][\w.]*$|^(?:https?|s3|gs|file)://|^\*+$|^[\[{(]"
    r"|\\[dwsb]|^v?\d+(?:\.\d+)+$"
    r"|^[a-z]+:[a-z]+$|^\|"
)
# Capitals in the middle where no word begins: nobody names a thing like that.
_RAGGED = compile_text(r"^[A-Za-z]*[a-z][A-Z]{2,}[a-z][A-Za-z]*$|^[A-Z]{3,}[a-z]{1,2}[A-Z]+[A-Za-z]*$")
_OTHER_SCRIPTS = compile_text(
    r"(?:密码|密碼|口令|パスワード|비밀번호|암호|[Пп]ароль|סיסמה|كلمة المرور|كلمة السر|पासवर्ड|"
    r"รหัสผ่าน|κωδικός|[Şş]ifre|[Hh]asło|[Jj]elszó)"
    r"(?:\s?[:=\-]\s?|\s?是\s?|は\s?|은\s?|는\s?|\s)(?P<value>[!-~]{6,64})"
)
_REFERENCE = compile_text(r"(?i)^(?:\$[a-z_{(]|%[a-z_]+%|@[a-z_]+|#\{|env:|file:|/[\w/.]+$|&[a-z_]+;)")
_WORDS = frozenset(NO_SECRETS.split())
