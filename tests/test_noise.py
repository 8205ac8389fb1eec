#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws of the program (`pathbound sample --raw`, `pathbound bits --raw`) against SciPy.

False alarms: every p-value is held against 1e-9 (Kolmogorov-Smirnov, binomial tail counts, two-sided); about 450 of
them with fixed seeds, so 5e-7 for the file. Python's own check is independent of the C++ tests: SciPy's distribution
functions, and variates recomputed by NumPy from the program's random words.
"""
import os
import subprocess
import sys

try:
    import numpy as np
    from scipy import optimize, special, stats
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

PROGRAM = os.environ.get("PATHBOUND_CLI", "pathbound")
LEVEL = 1e-9
N = 1_000_000
failures = []
checks = 0


def check(ok, what):
    global checks
    checks += 1
    if not ok:
        failures.append(what)
        print(f"FAILED: {what}")


def sample(law, nu, precision, n, dim=1, seed=1, **parameters):
    """n rows of dim draws."""
    command = [PROGRAM, "sample", "--law", law, "--precision", precision, "-n", str(n), "--dim", str(dim)]
    command += ["--seed", str(seed), "--raw"]
    if nu is not None:
        command += ["--nu", repr(nu)]
    for name, value in parameters.items():
        command += ["--" + name, repr(value)]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    draws = np.frombuffer(raw, dtype="<f4" if precision == "float" else "<f8").astype(np.float64)
    assert draws.size == n * dim, (command, draws.size)
    return draws.reshape(n, dim)


def words(seed, path, offset, n):
    command = [PROGRAM, "bits", "--seed", str(seed), "--path", str(path), "--offset", str(offset), "-n", str(n)]
    command += ["--raw"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, dtype="<u4")


def kolmogorov(draws, cdf, what):
    """The two-sided test; the asymptotic p-value is exact enough for n = 10^6 and errs on the safe side."""
    u = np.sort(cdf(draws))
    n = u.size
    grid = np.arange(n)
    distance = max(np.max(u - grid / n), np.max((grid + 1) / n - u))
    p = special.kolmogorov(np.sqrt(n) * distance)
    check(p > LEVEL, f"{what}: Kolmogorov distance {distance:.3g} of {n} draws, p = {p:.3g}")


def tails(draws, law, what):
    """Counts beyond the 1e-4, 1e-5 and 1e-6 quantiles of each side."""
    for chance in (1e-4, 1e-5, 1e-6):
        for side, count in (("upper", np.sum(draws > law.isf(chance))), ("lower", np.sum(draws < law.ppf(chance)))):
            p = min(stats.binom.cdf(count, draws.size, chance), stats.binom.sf(count - 1, draws.size, chance))
            check(p > LEVEL, f"{what}: {count} of {draws.size} draws beyond the {side} {chance} quantile, p = {p:.3g}")


def test_one_coordinate():
    for precision in ("float", "double"):
        for nu in (None, 0.5, 1.0, 1.6, 2.0, 3.0, 30.0):
            law = stats.norm() if nu is None else stats.t(nu)
            name = f"{'gaussian' if nu is None else f'student_t nu = {nu}'} in {precision}"
            draws = sample("gaussian" if nu is None else "student_t", nu, precision, N).ravel()
            check(bool(np.all(np.isfinite(draws))), f"{name}: a draw is not finite")
            # cdf by special functions: the frozen distribution's wrapper is slow.
            kolmogorov(draws, special.ndtr if nu is None else (lambda x, nu=nu: special.stdtr(nu, x)), name)
            tails(draws, law, name)


class Mixture:
    """(1 - eps) N(0, 1) + eps N(0, k^2)."""

    def __init__(self, eps, k):
        self.eps, self.k = eps, k

    def cdf(self, x):
        return (1 - self.eps) * special.ndtr(x) + self.eps * special.ndtr(x / self.k)

    def ppf(self, chance):
        return optimize.brentq(lambda x: self.cdf(x) - chance, -50 * max(1, self.k), 0)

    def isf(self, chance):
        return -self.ppf(chance)


def test_further_laws():
    for precision in ("float", "double"):
        for law, distribution, parameters in (
            ("laplace", stats.laplace(), {}),
            ("logistic", stats.logistic(), {}),
            ("contaminated_gaussian", Mixture(0.1, 10.0), {"eps": 0.1, "k": 10.0}),
            ("contaminated_gaussian", Mixture(0.001, 300.0), {"eps": 0.001, "k": 300.0}),
            ("alpha_stable", stats.cauchy(), {"alpha": 1.0}),
            ("alpha_stable", stats.norm(scale=np.sqrt(2)), {"alpha": 2.0}),
        ):
            name = f"{law} {parameters} in {precision}"
            draws = sample(law, None, precision, N, **parameters).ravel()
            check(bool(np.all(np.isfinite(draws))), f"{name}: a draw is not finite")
            kolmogorov(draws, distribution.cdf, name)
            tails(draws, distribution, name)


def stable_cdf(alpha, x):
    """P(X <= x), x > 0, by Fourier inversion along a ray (as an oscillating integral it would not converge)."""
    theta = min(np.pi / 2, 0.3 * np.pi / alpha)
    ray, power = np.exp(1j * theta), np.exp(1j * alpha * theta)
    step = 0.01
    u = np.arange(-40 / min(alpha, 1), 30, step)
    s = np.exp(u)
    return 0.5 + theta / np.pi + step * np.sum(np.imag(np.exp(1j * x * s * ray - s**alpha * power))) / np.pi


def test_alpha_stable():
    # SciPy's levy_stable at a few points; then how many draws lie beyond quantiles, on either side.
    for alpha in (0.8, 1.3):
        for x in (0.3, 4.0):
            off = abs(stable_cdf(alpha, x) - stats.levy_stable.cdf(x, alpha, 0.0))
            check(off < 1e-6, f"SciPy and the Fourier integral differ by {off:.3g} at alpha = {alpha}, x = {x}")
    for precision in ("float", "double"):
        for alpha in (0.3, 0.5, 0.99, 1.01, 1.5, 1.9) + ((0.06,) if precision == "double" else ()):
            name = f"alpha_stable, alpha = {alpha} in {precision}"
            draws = sample("alpha_stable", None, precision, N, alpha=alpha).ravel()
            check(bool(np.all(np.isfinite(draws))), f"{name}: a draw is not finite")
            for chance in (0.45, 0.3, 0.1, 0.01, 1e-3, 1e-4, 1e-5):
                above = lambda y: 1 - stable_cdf(alpha, np.exp(y)) - chance  # noqa: E731
                x = np.exp(optimize.brentq(above, -80, 13 / alpha, rtol=1e-14))
                for side, count in (("above", np.sum(draws > x)), ("below", np.sum(draws < -x))):
                    p = min(stats.binom.cdf(count, N, chance), stats.binom.sf(count - 1, N, chance))
                    check(p > LEVEL, f"{name}: {count} draws {side} {x:.4g}, p = {p:.3g}")


def test_multivariate_t():
    for precision in ("float", "double"):
        for dim, nu in ((2, 1.6), (5, 3.0), (16, 0.5)):
            name = f"multivariate_t nu = {nu}, d = {dim} in {precision}"
            draws = sample("multivariate_t", nu, precision, 200_000, dim)
            kolmogorov(np.sum(draws * draws, axis=1) / dim, lambda x: special.fdtr(dim, nu, x), f"{name}: |x|^2/d")
            for j in (0, dim // 2, dim - 1):
                kolmogorov(draws[:, j], lambda x: special.stdtr(nu, x), f"{name}: coordinate {j}")
            # Given the length, the direction is uniform: its first coordinate squared is Beta(1/2, (d-1)/2).
            share = draws[:, 0] ** 2 / np.sum(draws * draws, axis=1)
            kolmogorov(share, lambda x: special.btdtr(0.5, 0.5 * (dim - 1), x), f"{name}: direction")


def test_variates_are_made_of_the_words_of_path_0():
    n = 20_000
    for seed in (1, 2**63 - 1):
        w = words(seed, 0, 0, 2 * n).astype(np.float64)
        u = np.minimum(np.float32(np.floor(w / 2)).astype(np.float64) * 2.0**-31 + 2.0**-32, 1 - 2.0**-24)
        turn = w * 2.0**-32
        radius = np.sqrt(-2 * np.log(u[0::2]))
        normals = np.empty(n)
        normals[0::2] = (radius * np.cos(2 * np.pi * turn[1::2]))[: n // 2]
        normals[1::2] = (radius * np.sin(2 * np.pi * turn[1::2]))[: n // 2]
        draws = sample("gaussian", None, "float", n, seed=seed).ravel()
        check(np.max(np.abs(draws - normals)) < 4e-6, f"normals of seed {seed} are not those of its words")

        pairs = words(seed, 0, 0, 4 * n).astype(np.uint64)
        z = (((pairs[1::2] << np.uint64(32)) | pairs[0::2]) >> np.uint64(11)).astype(np.float64)
        u = np.minimum((z + 0.5) * 2.0**-53, 1 - 2.0**-53)
        for nu in (0.5, 1.0, 3.0):
            size = np.sqrt(nu * np.expm1(-2 / nu * np.log(u[0::2])))
            t = size * np.cos(2 * np.pi * z[1::2] * 2.0**-53)
            draws = sample("student_t", nu, "double", n, seed=seed).ravel()
            off = np.max(np.abs(draws - t) / size)
            check(off < 2e-14, f"t draws of seed {seed}, nu = {nu} are not those of its words: {off:.3g}")


def test_text_and_raw_agree():
    for precision in ("float", "double"):
        raw = sample("multivariate_t", 2.5, precision, 100, dim=3, seed=4)
        command = [PROGRAM, "sample", "--law", "multivariate_t", "--nu", "2.5", "--precision", precision, "-n", "100"]
        command += ["--dim", "3", "--seed", "4"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        parsed = np.array([[float(x) for x in line.split(",")] for line in text.splitlines()])
        if precision == "float":
            parsed = parsed.astype(np.float32).astype(np.float64)
        check(bool(np.array_equal(raw, parsed)), f"text and raw draws differ in {precision}")


def main():
    test_one_coordinate()
    test_further_laws()
    test_alpha_stable()
    test_multivariate_t()
    test_variates_are_made_of_the_words_of_path_0()
    test_text_and_raw_agree()
    print(f"{checks} checks, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
