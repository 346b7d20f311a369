"""Where the money goes: what an ad is worth, how budgets move, and which moves may leave.

Everything here is a pure decision. Money is integer minor units, rates are fractions, ages are
hours or days as named, times are UTC epoch seconds.
"""
