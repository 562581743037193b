"""Which passwords are taken: long ones that nobody guesses first. Hashing is in `passwords.py`."""

import string
from typing import Final

from gateway.errors import InvalidFields

MIN_LENGTH: Final = 12
MAX_LENGTH: Final = 256

# The words that most guessed passwords are made of; what is left of a password without digits and signs is looked up.
_COMMON: Final = frozenset("""
    password passwort passwords motdepasse contrasena contrasenya senha passw0rd qwerty qwertz azerty qwertyuiop
    qwertzuiop asdfghjkl zxcvbnm letmein welcome willkommen bienvenue iloveyou sunshine princess football baseball
    basketball superman batman pokemon starwars dragon monkey shadow master michael jordan hunter trustno admin
    administrator root superuser default changeme changeit secret topsecret geheim hello hallo abcdef abcdefgh
    abcdefghijkl whatever computer internet service testtest test testing gateway aigateway login access freedom
    correcthorsebatterystaple summer winter spring autumn january february october november december monday friday
    company corporate temporary temp newpassword mypassword thisispassword passwordpassword adminadmin welcomewelcome
    qwertyqwerty letmeinplease iloveyouforever
""".split())  # noqa: SIM905 - a list of words reads best as text
_LEET: Final = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i"})
_RUNS: Final = ("0123456789" * 3, "9876543210" * 3, "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm")


def check_password(password: str, path: str, *names: str) -> None:
    """Raise `InvalidFields` for a password that is too short, common, or made of one of the person's `names`."""
    if len(password) < MIN_LENGTH:
        raise InvalidFields((path, f"must have at least {MIN_LENGTH} characters"))
    if len(password) > MAX_LENGTH:
        raise InvalidFields((path, f"must have at most {MAX_LENGTH} characters"))
    if len(set(password)) < 5:
        raise InvalidFields((path, "must have at least 5 different characters"))
    if _is_common(password.lower()) or any(_holds(password.lower(), name) for name in names):
        raise InvalidFields((path, "is one that is guessed first: take another, such as four words at random"))


def _is_common(lower: str) -> bool:
    if any(lower in run for run in _RUNS):
        return True
    trimmed = lower.strip(string.digits + string.punctuation)
    for text in (lower, lower.translate(_LEET), trimmed.translate(_LEET)):
        core = "".join(char for char in text if char.isalpha())
        half = core[: len(core) // 2]
        if core in _COMMON or (half in _COMMON and core == half * 2):
            return True
    return False


def _holds(lower: str, name: str) -> bool:
    """Whether hardly anything but the person's own name or address is in it."""
    for part in {name.lower(), name.lower().partition("@")[0]}:
        if len(part) >= 4 and part in lower and len(lower) - len(part) < 8:
            return True
    return False
