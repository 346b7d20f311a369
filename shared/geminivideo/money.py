"""Money between the outside's decimal amounts and our integer minor units.

How many decimals a currency has is Meta's to say ("Currencies" of the Marketing API): budgets are
sent in its units, so spend, revenue and deals are counted in them too.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

WHOLE_UNITS = frozenset(
    {"CLP", "COP", "CRC", "HUF", "ISK", "IDR", "JPY", "KRW", "PYG", "TWD", "VND"}
)
_MOST = Decimal(10) ** 15


class AmountError(ValueError):
    """A text is no amount of money; the message shows it."""


def decimals(currency: str) -> int:
    """How many digits after the point one major unit of ``currency`` has."""
    return 0 if currency.upper() in WHOLE_UNITS else 2


def minor(amount: str | int | float | Decimal, currency: str) -> int:
    """``amount`` in major units as minor units, halves to even; raises ``AmountError``."""
    return int(_scaled(amount, currency).quantize(Decimal(1), ROUND_HALF_EVEN))


def minor_exactly(amount: str | int | float | Decimal, currency: str) -> int:
    """``minor``; an amount finer than the smallest unit raises ``AmountError`` too."""
    exact = _scaled(amount, currency)
    if exact != exact.to_integral_value():
        raise AmountError(f"{str(amount)[:40]!r} is finer than the smallest unit of {currency}")
    return int(exact)


def major(amount: int, currency: str) -> float:
    """Minor units as the decimal number that people read."""
    return float(Decimal(amount).scaleb(-decimals(currency)))


def shown(amount: int, currency: str, *, name: bool = True) -> str:
    """Minor units in words, ``12.50 USD`` or ``1250 JPY``."""
    written = f"{Decimal(amount).scaleb(-decimals(currency)):.{decimals(currency)}f}"
    return f"{written} {currency}" if name else written


def _scaled(amount: str | int | float | Decimal, currency: str) -> Decimal:
    try:
        exact = Decimal(str(amount).strip())
    except InvalidOperation as error:
        raise AmountError(f"{str(amount)[:40]!r} is no amount of money") from error
    if not exact.is_finite() or abs(exact) > _MOST:
        raise AmountError(f"{str(amount)[:40]!r} is no amount of money")
    return exact.scaleb(decimals(currency))
