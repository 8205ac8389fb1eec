# SPDX-License-Identifier: Apache-2.0
"""What run.py measured, made into answers: who agrees, rates and ratios, the goals, a table and a picture.

Works on the dictionary that run.py writes as peers.json and on nothing else:

  rows        one for each tool and job: group (of rows run in turn), job, tool, isa ("best", "avx2", or "" where the
              tool takes what it likes), threads, steps (path-steps to a path), version; skipped (why it did not run, or
              null), failed (whether that is an error); rounds: a list of {paths, seconds, cpu_seconds}; mean: of S over
              all rounds' paths at the 100 checkpoints (floors have none)
  references  by job: paths, and mean and deviation (of one path) of S at the 100 checkpoints, from one large run of the
              engine that samples every worker
  memory      runs of {experiment, paths, steps, bytes}: the largest resident set
"""
import html
import math
import statistics

ENGINE, DIRECT = "pathbound", "pathbound, sampling = direct"
AS_METHOD = "pathbound, the method itself"  # of J4: its recursion is that of J1
SFMT, PHILOX = "oneMKL, SFMT19937 + ICDF", "oneMKL, Philox4x32-10 + ICDF"
QUANTILE = "oneMKL, SFMT19937, t by its quantile"
FLOOR_BITS, FLOOR_NORMALS = "floor: random words", "floor: words + Box-Muller"
N64, N64_DIRECT = "pathbound, N = 64", "pathbound, N = 64, sampling = direct"
DIFFRAX, DIFFRAX_MAPPED = "diffrax, paths as one state", "diffrax, vmap over paths"

TITLES = {"j1": "J1: DSGD on x^4/4, Gaussian noise",
          "j2": "J2: DCSGD, rand_k 16 of 64, 8 workers, Gaussian noise",
          "j3": "J3: DSignSGD, 64 coordinates, 8 workers, Student-t noise, nu = 2",
          "j3_nu3": "J3 with nu = 3",
          "j4": "J4: Euler-Maruyama of J1's SDE, dt = eta"}

# Random words, and normals, of a path-step of J2 in the engine's own form: a subset of 16 of 64 takes each of 8 workers
# 4 words, the merged noise is a normal a coordinate.
J2_WORDS, J2_NORMALS = 8 * 4, 64

CHECKED = (1, 10, 25, 50, 100)  # checkpoints at which means are compared
FALSE_ALARM = 1e-3  # chance that any of them is called different though all are right


# ---------------------------------------------------------------------- rates
def rates(row, clock="cpu_seconds"):
    """Path-steps per second of each round."""
    return [one["paths"] * row["steps"] / one[clock] for one in row["rounds"]]


def rate(row):
    return statistics.median(rates(row))


def spread(row):
    """How far the rounds are apart, of their median."""
    every = rates(row)
    return (max(every) - min(every)) / statistics.median(every)


def ratio(above, below, clock="cpu_seconds"):
    """Median over rounds of rate(above) / rate(below), each round's two runs being neighbours in time."""
    return statistics.median(a / b for a, b in zip(rates(above, clock), rates(below, clock)))


def find(results, group, tool, isa=None, threads=1):
    """The row that ran; None when there is none."""
    for row in results["rows"]:
        if (row["group"], row["tool"], row["threads"]) == (group, tool, threads) and isa in (None, row["isa"]):
            return row if row["rounds"] else None
    return None


def engine_for(results, row):
    """The engine's row that a row is held against: with the same instructions where the tool was limited."""
    return find(results, row["group"], ENGINE, "avx2" if row["isa"] == "avx2" else "best")


# ---------------------------------------------------------------------- agreement
def agreement(results):
    """[{row index, z, worst checkpoint, agrees}] of the rows with means, and the z from which on they differ.

    z = (mean - reference) / (deviation sqrt(1/n + 1/n_reference)) at the checkpoints CHECKED; by Bonferroni over all
    rows and checkpoints some |z| is above the limit by chance in at most FALSE_ALARM of runs.
    """
    rows = [(index, row) for index, row in enumerate(results["rows"])
            if row["rounds"] and row["mean"] and row["job"] in results["references"]]
    comparisons = max(1, len(rows) * len(CHECKED))
    limit = statistics.NormalDist().inv_cdf(1.0 - FALSE_ALARM / (2.0 * comparisons))
    out = []
    for index, row in rows:
        reference = results["references"][row["job"]]
        paths = sum(one["paths"] for one in row["rounds"])
        z = {}
        for checkpoint in CHECKED:
            at = checkpoint - 1
            error = reference["deviation"][at] * math.sqrt(1.0 / paths + 1.0 / reference["paths"])
            z[checkpoint] = (row["mean"][at] - reference["mean"][at]) / error
        worst = max(z, key=lambda checkpoint: abs(z[checkpoint]) if math.isfinite(z[checkpoint]) else math.inf)
        out.append({"row": index, "z": z[worst], "checkpoint": worst, "agrees": abs(z[worst]) <= limit})
    return out, limit


# ---------------------------------------------------------------------- goals
def goals(results):
    """[{goal, measured, met}]; met is None where it was not measured."""
    out = []

    def add(what, relation, limit, measured, unit="x"):
        met = None if measured is None else measured >= limit if relation == ">=" else measured <= limit
        text = "not measured" if measured is None else f"{measured:.3g}{unit}"
        out.append({"what": what, "goal": f"{relation} {limit:g}{unit}", "measured": text, "met": met})

    def faster(what, limit, group, tool, isa="best", base=ENGINE, peer_isa=None):
        engine, peer = find(results, group, base, isa), find(results, group, tool, peer_isa)
        add(what, ">=", limit, ratio(engine, peer) if engine and peer else None)

    isas = [isa for isa in ("best", "avx2") if any(row["isa"] == isa and row["rounds"] for row in results["rows"])]
    name = {"best": results["environment"].get("isa", "best"), "avx2": "avx2"}
    for isa in isas:
        faster(f"J1 against oneMKL SFMT + ICDF, {name[isa]}", 1.5, "j1", SFMT, isa, peer_isa=isa)
    for isa in isas:
        engine, floor = find(results, "j1", ENGINE, isa), find(results, "j1", FLOOR_NORMALS, isa)
        add(f"J1's time over its floor (words + Box-Muller), {name[isa]}", "<=", 1.15,
            ratio(floor, engine) if engine and floor else None)
    for isa in isas:
        faster(f"J2 against oneMKL SFMT + ICDF, {name[isa]}", 5.5, "j2", SFMT, isa, peer_isa=isa)
    for isa in isas:
        engine = find(results, "j2", ENGINE, isa)
        words, normals = find(results, "j1", FLOOR_BITS, isa), find(results, "j1", FLOOR_NORMALS, isa)
        add(f"J2's time over its floor ({J2_WORDS} words, {J2_NORMALS} normals), {name[isa]}", "<=", 1.5,
            (1.0 / rate(engine)) / (J2_WORDS / rate(words) + J2_NORMALS / rate(normals))
            if engine and words and normals else None)
    for isa in isas:
        faster(f"J3, nu = 2, against oneMKL SFMT + ICDF, {name[isa]}", 25.0, "j3", SFMT, isa, peer_isa=isa)
    for isa in isas:
        faster(f"J3, nu = 2, against oneMKL's better program, t by its quantile, {name[isa]}", 25.0, "j3", QUANTILE,
               isa, peer_isa=isa)
    for isa in isas:
        faster(f"J3, nu = 3, against oneMKL SFMT + ICDF, {name[isa]}", 15.0, "j3_nu3", SFMT, isa, peer_isa=isa)
    small, large = find(results, "j3", ENGINE, "best"), find(results, "j3", N64, "best")
    add("J3: time with N = 64 over that with N = 8", "<=", 1.1, ratio(small, large) if small and large else None)
    two, three = find(results, "j3", ENGINE, "best"), find(results, "j3_nu3", ENGINE, "best")
    add("J3: time with nu = 3 over that with nu = 2", "<=", 1.5, rate(two) / rate(three) if two and three else None)
    for base, how in ((ENGINE, "as an SDE model"), (AS_METHOD, "as the method it is")):
        faster(f"J4, {how}, against QuantLib", 15.0, "j4", "QuantLib", base=base)
        faster(f"J4, {how}, against diffrax with vmap over paths", 30.0, "j4", DIFFRAX_MAPPED, base=base)
        faster(f"J4, {how}, against diffrax's better program, paths as one state", 30.0, "j4", DIFFRAX, base=base)
    for group, limit in (("j1", 0.9), ("j2", 1.0), ("j3", 1.0)):
        for row in results["rows"]:
            if row["tool"].startswith("prototype") and row["group"] == group and row["rounds"]:
                faster(f"{group.upper()} against the {row['tool']}, {isa_name(results, row)}", limit, group,
                       row["tool"], row["isa"] or "best", peer_isa=row["isa"])
    for group in ("j1", "j2", "j3"):
        two, one = find(results, group, ENGINE, "best", threads=2), find(results, group, ENGINE, "best")
        add(f"{group.upper()} with two threads over one, by the clock", ">=", 1.9,
            ratio(two, one, "seconds") if two and one else None)
    for run in results["memory"]:
        add(f"memory of {run['experiment']}, {run['paths']:.0e} paths, {run['steps']} steps", "<=", 200.0,
            run["bytes"] / 1e6, " MB")
    return out


# ---------------------------------------------------------------------- the table
def number(value):
    return f"{value:.3g}" if value < 1000.0 else f"{value:.0f}"


def isa_name(results, row):
    return results["environment"].get("isa", "best") if row["isa"] == "best" else row["isa"] or "its own"


def table(results):
    """The lines of Markdown that stand in docs/performance.md."""
    environment, options = results["environment"], results["options"]
    compared, limit = agreement(results)
    z = {one["row"]: one for one in compared}
    out = [f"Measured on {environment['cpu']} ({environment['cores']} cores), {environment['date']}, pathbound "
           f"{environment['version']} ({environment['commit']}), {options['rounds']} interleaved rounds of about "
           f"{options['seconds']:g} s, {options['threads']} thread{'s' if options['threads'] > 1 else ''}.", ""]
    for group, title in TITLES.items():
        rows = [(index, row) for index, row in enumerate(results["rows"]) if row["group"] == group]
        if not rows:
            continue
        out += [f"**{title}**", "",
                "| tool | instructions | million path-steps per CPU second | spread | pathbound / tool | "
                "largest \\|z\\| |",
                "|---|---|---:|---:|---:|---:|"]
        for index, row in rows:
            threads = f", {row['threads']} threads" if row["threads"] != options["threads"] else ""
            if not row["rounds"]:
                out.append(f"| {row['tool']}{threads} | {isa_name(results, row)} | not run: {row['skipped']} | | | |")
                continue
            engine = engine_for(results, row)
            faster = f"{number(ratio(engine, row))}" if engine and engine is not row else ""
            agrees = z.get(index)
            said = "" if agrees is None else f"{abs(agrees['z']):.1f}" + ("" if agrees["agrees"] else " **differs**")
            out.append(f"| {row['tool']}{threads} | {isa_name(results, row)} | {number(rate(row) / 1e6)} | "
                       f"{100.0 * spread(row):.0f}% | {faster} | {said} |")
        out.append("")
    different = [results["rows"][one["row"]]["tool"] for one in compared if not one["agrees"]]
    out += [("All means agree" if not different else f"**Means of {', '.join(different)} differ from the engine's**")
            + f": largest |z| over the checkpoints {', '.join(map(str, CHECKED))} of 100, against one large run of the "
            f"engine that samples every worker; the limit {limit:.2f} is passed by chance in at most "
            f"{100.0 * FALSE_ALARM:g}% of such tables.", ""]
    versions = dict.fromkeys(row["version"] for row in results["rows"] if row["version"])
    out += ["Versions: " + "; ".join(versions) + ".", ""]
    return out


def goal_table(results):
    out = ["| goal | wanted | measured | met |", "|---|---:|---:|---|"]
    for one in goals(results):
        met = {True: "yes", False: "**no**", None: "-"}[one["met"]]
        out.append(f"| {one['what']} | {one['goal']} | {one['measured']} | {met} |")
    return out + [""]


def write_between(text, name, lines):
    """`text` with `lines` between the markers of that name."""
    begin, end = f"<!-- generated by bench/peers/run.py: {name} -->", "<!-- end -->"
    before, found, rest = text.partition(begin)
    if not found or end not in rest:
        raise ValueError(f"no block {begin} ... {end}")
    return before + begin + "\n" + "\n".join(lines).rstrip() + "\n" + rest[rest.index(end):]


# ---------------------------------------------------------------------- the picture
def picture(results):
    """An SVG: a bar a row, as long as the logarithm of path-steps per CPU second; the engine's blue, floors grey."""
    width, left, right, bar, gap = 860, 300, 120, 15, 5
    groups = []
    for group, title in TITLES.items():
        rows = [row for row in results["rows"] if row["group"] == group and row["rounds"]
                and row["threads"] == results["options"]["threads"]]
        if rows:
            groups.append((title, sorted(rows, key=rate, reverse=True)))
    height = 46 + sum(58 + len(rows) * (bar + gap) for _, rows in groups)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
           f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="#ffffff"/>']

    def text(x, y, content, anchor="start", size=12, colour="#222222"):
        out.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">'
                   f"{html.escape(content)}</text>")

    text(width / 2, 22, "Million path-steps per CPU second (logarithmic), and pathbound / tool", "middle", 14)
    top = 46
    for title, rows in groups:
        low = math.floor(math.log10(min(rate(row) for row in rows) / 1e6))
        high = math.log10(max(rate(row) for row in rows) / 1e6)
        per_decade = (width - left - right) / max(high - low, 0.1)
        bottom = top + 12 + len(rows) * (bar + gap)
        text(14, top + 2, title, size=13)
        for decade in range(low, math.floor(high) + 1):
            x = left + (decade - low) * per_decade
            out.append(f'<line x1="{x:.1f}" y1="{top + 8}" x2="{x:.1f}" y2="{bottom}" stroke="#dddddd"/>')
            text(x, bottom + 14, f"{10.0 ** decade:g}", "middle", 11, "#666666")
        for index, row in enumerate(rows):
            y = top + 12 + index * (bar + gap)
            mine, floor = row["tool"].startswith(ENGINE), row["tool"].startswith("floor")
            colour = "#0072b2" if mine else "#bbbbbb" if floor else "#e69f00"
            length = max(1.0, (math.log10(rate(row) / 1e6) - low) * per_decade)
            isa = f" ({isa_name(results, row)})" if row["isa"] else ""
            text(left - 6, y + bar - 3, row["tool"] + isa, "end")
            out.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar}" fill="{colour}"/>')
            engine = engine_for(results, row)
            faster = f", {number(ratio(engine, row))}x" if engine and not mine and not floor else ""
            text(left + length + 5, y + bar - 3, number(rate(row) / 1e6) + faster)
        top = bottom + 46
    out.append("</svg>")
    return "\n".join(out) + "\n"
