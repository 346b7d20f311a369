"""Money: exact between decimal major units, as people and Meta's reports write them, and integers.

Minor units are the smallest unit that Meta's budgets count in: a hundredth, except in currencies
that it counts in whole units (Meta, "Currencies", Marketing API; its offset is 1 there).
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

WHOLE_UNIT_CURRENCIES = frozenset(
    ("CLP", "COP", "CRC", "HUF", "IDR", "ISK", "JPY", "KRW", "PYG", "TWD", "VND")
)
_MOST = 10**15


class MoneyError(ValueError):
    """An amount that is no amount of its currency; the message quotes it."""


def offset(currency: str) -> int:
    """How many minor units make one major unit of a currency (ISO 4217)."""
    return 1 if currency.upper() in WHOLE_UNIT_CURRENCIES else 100


def minor_exactly(amount: str | int | float, currency: str) -> int:
    """``amount`` in major units as whole minor units; raises ``MoneyError`` for a finer one."""
    exact = _decimal(amount) * offset(currency)
    if exact != exact.to_integral_value():
        raise MoneyError(f"{amount!r} is finer than the smallest unit of {currency}")
    return int(exact)


def minor(amount: str | int | float, currency: str) -> int:
    """``amount`` in major units as minor units, rounded half to even; raises ``MoneyError``."""
    exact = _decimal(amount) * offset(currency)
    return int(exact.to_integral_value(rounding=ROUND_HALF_EVEN))


def major(amount: int, currency: str) -> float:
    """Minor units in major units, for those who are answered in them."""
    return amount / offset(currency)


def _decimal(amount: str | int | float) -> Decimal:
    try:
        # repr of a float is its shortest decimal: 19.99 stays 19.99.
        value = Decimal(repr(amount) if isinstance(amount, float) else str(amount))
    except InvalidOperation as error:
        raise MoneyError(f"{amount!r} is no amount of money") from error
    if not value.is_finite() or abs(value) > _MOST:
        raise MoneyError(f"{amount!r} is no amount of money")
    return value
