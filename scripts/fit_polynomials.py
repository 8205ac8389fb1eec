#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fits the polynomials of kernels/math.hpp and prints them as C++ hexadecimal literals.

Weighted Remez exchange in 50-digit arithmetic. The low coefficients are rounded to the target precision one at a time
and the others fitted again, so that rounding costs next to nothing. Needs mpmath.

usage: fit_polynomials.py [NAME]...      (default: all)
"""
import sys

from mpmath import mp, mpf

mp.dps = 50
GRID = 500


def solve(powers, xs, fs, ws):
    """Coefficients of the minimax fit sum c_k x^powers[k] ~ f on the grid, with its weighted error."""
    size = len(powers) + 1
    n = len(xs)
    reference = [round((n - 1) * (1 - mp.cos(mp.pi * (2 * i + 1) / (2 * size))) / 2) for i in range(size)]
    best = None
    for _ in range(40):
        a = mp.matrix(size, size)
        b = mp.matrix(size, 1)
        for i, g in enumerate(reference):
            for k, p in enumerate(powers):
                a[i, k] = xs[g] ** p
            a[i, size - 1] = (-1) ** i / ws[g]
            b[i] = fs[g]
        c = mp.lu_solve(a, b)
        err = [ws[g] * (sum(c[k] * xs[g] ** p for k, p in enumerate(powers)) - fs[g]) for g in range(n)]
        worst = max(abs(e) for e in err)
        if best is None or worst < best[1]:
            best = [c[k] for k in range(size - 1)], worst
        # One extremum for each run of equal sign, then the best `size` consecutive ones.
        extrema = []
        for g in range(n):
            if extrema and (err[g] > 0) == (err[extrema[-1]] > 0):
                if abs(err[g]) > abs(err[extrema[-1]]):
                    extrema[-1] = g
            else:
                extrema.append(g)
        while len(extrema) > size:
            extrema.pop(0 if abs(err[extrema[0]]) < abs(err[extrema[-1]]) else -1)
        if len(extrema) < size or extrema == reference:
            break
        reference = extrema
    return best


def rounded(c, bits):
    """c to `bits` significant bits, to nearest."""
    if c == 0:
        return mpf(0)
    scale = mpf(2) ** (bits - 1 - int(mp.floor(mp.log(abs(c), 2))))
    return mp.nint(c * scale) / scale


def literal(c, bits):
    text = float(c).hex()  # a float's value is a double too
    mantissa, exponent = text.split("p")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return mantissa + "p" + exponent.lstrip("+") + ("f" if bits == 24 else "")


def round_in_turn(powers, bits, xs, fs, ws, first, in_turn):
    """The fit `first` with its coefficients rounded: lowest `in_turn` one at a time, refitting; others at once."""
    out, left, c = [], list(powers), first
    while left:
        take = 1 if len(out) < in_turn else len(left)
        for k in range(take):
            v = rounded(c[k], bits)
            out.append(v)
            fs = [y - v * x ** left[k] for x, y in zip(xs, fs)]
        left = left[take:]
        if left:
            c, _ = solve(left, xs, fs, ws)
    return max(abs(w * y) for w, y in zip(ws, fs)), out


def fit(name, f, w, lo, hi, powers, bits):
    lo, hi = mpf(lo), mpf(hi)
    xs = [(lo + hi) / 2 + (hi - lo) / 2 * mp.cos(mp.pi * i / (GRID - 1)) for i in range(GRID)]
    fs = [f(x) for x in xs]
    ws = [w(x) for x in xs]
    first, best = solve(powers, xs, fs, ws)
    error, out = min((round_in_turn(powers, bits, xs, fs, ws, first, k) for k in range(5)), key=lambda e: e[0])
    print(f"// {name}: weighted error 2^{float(mp.log(error, 2)):.1f}, before rounding 2^{float(mp.log(best, 2)):.1f}")
    for p, v in zip(powers, out):
        print(f"//   x^{p}: {literal(v, bits)}")
    sys.stdout.flush()


def near_zero(f, taylor):
    """f, but its Taylor series where f would be 0/0."""
    return lambda x: taylor(x) if abs(x) < mpf("1e-9") else f(x)


LN2_HALF = mp.log(2) / 2 * mpf("1.0005")
QUARTER = mp.pi / 4 * mpf("1.0005")


def fits(bits):
    f32 = bits == 24
    tag = "float" if f32 else "double"

    def tail(k0, step, sign):
        """Sum over k of sign^k x^k / (k0 + step k)!, to full precision for |x| < 1."""
        return lambda x: sum(mpf(sign) ** k * x ** k / mp.factorial(k0 + step * k) for k in range(24))

    jobs = {}
    if f32:
        def log_tail(t):  # (ln(1+t) - t + t^2/2) / t^3
            return (mp.log1p(t) - t + t * t / 2) / t ** 3
        jobs["log"] = lambda: fit(
            "log float: ln(1+t) = t - t^2/2 + t^3 P(t)", near_zero(log_tail, lambda t: mpf(1) / 3 - t / 4),
            lambda t: abs(t ** 3 / mp.log1p(t)) if t else mpf(0) + mpf("1e-30"), -mpf(1) / 3, mpf(1) / 3,
            range(8), bits)
    else:
        def atanh_tail(z):  # with s^2 = z: (2 atanh(s)/s - 2) / z, so ln(1+t) = t - t^2/2 + s (t^2/2 + z R(z))
            return sum(2 * z ** k / mpf(2 * k + 3) for k in range(60))
        z_max = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1)) ** 2
        jobs["log"] = lambda: fit("log double: R(z)", atanh_tail, lambda z: (z + mpf("1e-9")) / 2, 0, z_max, range(7),
                                  bits)

    def weight_expm1(r):
        return r * r / abs(mp.expm1(r)) if abs(r) > mpf("1e-9") else mpf("1e-9")
    exp_degree = 4 if f32 else 9
    jobs["exp"] = lambda: fit(f"exp {tag}: e^r = 1 + r + r^2 Q(r)", tail(2, 1, 1), weight_expm1, -LN2_HALF, LN2_HALF,
                              range(exp_degree + 1), bits)

    hyperbolic = range(3 if f32 else 5)
    jobs["sinh"] = lambda: fit(f"sinh {tag}: sinh r = r + r z A(z), z = r^2", tail(3, 2, 1),
                               lambda z: z + mpf("1e-9"), 0, LN2_HALF ** 2, hyperbolic, bits)
    jobs["cosh"] = lambda: fit(f"cosh {tag}: cosh r = 1 + z B(z), z = r^2", tail(2, 2, 1),
                               lambda z: z + mpf("1e-9"), 0, LN2_HALF ** 2, hyperbolic, bits)

    few, many = range(3 if f32 else 6), range(4 if f32 else 7)
    jobs["sin"] = lambda: fit(f"sin {tag}: sin r = r + r z S(z), z = r^2", lambda z: -tail(3, 2, -1)(z),
                              lambda z: z + mpf("1e-9"), 0, QUARTER ** 2, few, bits)
    jobs["cos"] = lambda: fit(f"cos {tag}: cos r = 1 + z C(z), z = r^2",
                              lambda z: -tail(2, 2, -1)(z),
                              lambda z: (z + mpf("1e-9")) / mp.cos(mp.sqrt(z)), 0, QUARTER ** 2,
                              many, bits)
    q = mp.pi / 4
    jobs["sin_turn"] = lambda: fit(f"sin_turn {tag}: sin(r pi/4) = r S(z), z = r^2",
                                   lambda z: q * tail(1, 2, -1)(q * q * z),
                                   lambda z: mp.sqrt(z) / mp.sin(q * mp.sqrt(z)) if z else 1 / q, 0, 1, many, bits)
    jobs["cos_turn"] = lambda: fit(f"cos_turn {tag}: cos(r pi/4) = 1 + z C(z), z = r^2",
                                   lambda z: -q * q * tail(2, 2, -1)(q * q * z),
                                   lambda z: (z + mpf("1e-9")) / mp.cos(q * mp.sqrt(z)), 0, 1, many, bits)
    wide = range(5 if f32 else 9)
    jobs["sin_half"] = lambda: fit(f"sin_half {tag}: sin(r pi/2) = r S(z), z = r^2",
                                   lambda z: 2 * q * tail(1, 2, -1)(4 * q * q * z),
                                   lambda z: mp.sqrt(z) / mp.sin(2 * q * mp.sqrt(z)) if z else 1 / (2 * q), 0, 1, wide,
                                   bits)
    return jobs


def constants(bits):
    def split(name, value, terms):
        for i in range(terms):
            v = rounded(value, bits)
            print(f"// {name}[{i}] = {literal(v, bits)}")
            value -= v
    split("ln2", mp.log(2), 2)
    short = rounded(mp.log(2), bits - 12)  # times any exponent without rounding
    print(f"// ln2 short = {literal(short, bits)}, rest {literal(rounded(mp.log(2) - short, bits), bits)}")
    split("1/ln2", 1 / mp.log(2), 1)
    split("pi/2", mp.pi / 2, 3)
    split("2/pi", 2 / mp.pi, 1)


def main():
    names = sys.argv[1:]
    for bits in (24, 53):
        print(f"// ---- {'float' if bits == 24 else 'double'}")
        constants(bits)
        for name, job in fits(bits).items():
            if not names or name in names:
                job()


if __name__ == "__main__":
    main()
