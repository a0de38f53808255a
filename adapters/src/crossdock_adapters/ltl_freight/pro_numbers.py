"""PRO numbers of a range that the carrier gave us: each once, with its check digit; pure.

How a carrier computes the check digit is its own and not published; two ways are common, and what
the carrier says goes into the settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from crossdock_adapters.sdk.outcomes import NeedsPerson
from crossdock_adapters.sdk.settings import Settings

NO_CHECK: Final = "none"
MAX_CHARACTERS: Final = 20
ELEVEN: Final = 11


def _modulo_7(digits: str) -> str:
    return str(int(digits) % 7)


def _modulo_11(digits: str) -> str:
    """Weights 2 to 7 from the right; a remainder of 10 is written as X."""
    weighted = sum(int(one) * (2 + at % 6) for at, one in enumerate(reversed(digits)))
    rest = -weighted % ELEVEN
    return "X" if rest == ELEVEN - 1 else str(rest)


CHECKS: Final[Mapping[str, Callable[[str], str]]] = {
    NO_CHECK: lambda _: "",
    "modulo_7": _modulo_7,
    "modulo_11": _modulo_11,
}


@dataclass(frozen=True, slots=True)
class ProRange:
    """The numbers from first to last, written with `digits`, a prefix and a check digit."""

    first: int
    last: int
    digits: int
    prefix: str = ""
    check: str = NO_CHECK

    def problem(self) -> str:
        """What is wrong with it; "" when nothing is."""
        if not 0 < self.first <= self.last:
            return "pro_first must be above 0 and not above pro_last"
        if len(str(self.last)) > self.digits:
            return "pro_last has more digits than pro_digits"
        if self.check not in CHECKS:
            return f"pro_check must be one of {', '.join(CHECKS)}"
        if self.prefix != plain(self.prefix):
            # What is reported is looked for without them.
            return f"pro_prefix {self.prefix!r} has other characters than A to Z and 0 to 9"
        if len(self.prefix) + self.digits + 1 > MAX_CHARACTERS:
            return f"a PRO number has at most {MAX_CHARACTERS} characters"
        return ""

    def written(self, number: int) -> str:
        """The PRO number. NeedsPerson: the range is used up."""
        if not self.first <= number <= self.last:
            raise NeedsPerson(
                f"the PRO numbers up to {self.last} are used up: ask the carrier for a new range, "
                "and set pro_first and pro_last"
            )
        digits = f"{number:0{self.digits}d}"
        return f"{self.prefix}{digits}{CHECKS[self.check](digits)}"

    def has(self, pro: str) -> bool:
        """Whether a PRO number, as `plain` writes it, is of this range."""
        digits = pro.removeprefix(self.prefix)[: self.digits]
        if not (digits.isascii() and digits.isdigit()):
            return False
        number = int(digits)
        return self.first <= number <= self.last and self.written(number) == pro


def range_of(settings: Settings) -> ProRange:
    """The range that the carrier gave the deployment."""
    return ProRange(
        first=settings.integer("pro_first"),
        last=settings.integer("pro_last"),
        digits=settings.integer("pro_digits"),
        prefix=settings.text("pro_prefix"),
        check=settings.text("pro_check"),
    )


def plain(pro: str) -> str:
    """A PRO number without the dashes and blanks that some print in it."""
    return "".join(one for one in pro.upper() if one.isalnum())
