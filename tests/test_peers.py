#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/peers: the statistics, goals, table and picture of report.py, the jobs, and run.py with the engine and peers
that are made up here. No clock decides anything."""
import contextlib
import importlib.util
import io
import json
import math
import os
import pathlib
import re
import sys
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(os.environ.get("PATHBOUND_SOURCE_DIR", pathlib.Path(__file__).resolve().parent.parent))
PEERS = ROOT / "bench/peers"
sys.path.insert(0, str(PEERS))


def load(name):
    spec = importlib.util.spec_from_file_location(name, PEERS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


jobs, report, run = load("jobs"), load("report"), load("run")

# A peer of J2 whose answers are exact: theory.md O2. %FACTOR% makes it wrong, %DIES% lets it die at that request.
FAKE_PEER = '''
import json, sys
h = [10.0 ** (-1.0 + j / 63.0) for j in range(64)]
eta, workers, omega = 0.02, 8, 64 / 16 - 1
moments, mean = [1.0] * 64, []
for step in range(1, 201):
    moments = [m * ((1 - eta * g) ** 2 + (eta * g) ** 2 * omega / workers) + eta ** 2 * (1 + omega) / workers
               for m, g in zip(moments, h)]
    if step % 2 == 0:
        mean.append(%FACTOR% * 0.5 * sum(g * m for m, g in zip(moments, h)))
assert sys.argv[1:] == ["j2", "1"]
print(json.dumps({"version": "fake 1", "chunk_paths": 10}), flush=True)
for number, line in enumerate(sys.stdin):
    if number == %DIES%:
        sys.exit("out of luck")
    paths = 10 * int(line.split()[1])
    print(json.dumps({"seconds": 1e-3, "cpu_seconds": 1e-3, "paths": paths, "mean": mean}), flush=True)
'''


def row(tool, cpu_seconds, **changes):
    """Rounds of 1e6 paths of 10 path-steps."""
    out = {"group": "j1", "job": "j1", "tool": tool, "isa": "best", "threads": 1, "steps": 10, "version": "1",
           "skipped": None, "failed": False, "mean": [2.0] * 100,
           "rounds": [{"paths": 10**6, "seconds": 2 * c, "cpu_seconds": c} for c in cpu_seconds]}
    return out | changes


def results(*rows):
    return {"environment": {"cpu": "a processor", "cores": 2, "date": "2026-01-01", "isa": "avx512", "version": "0",
                            "commit": "c"},
            "options": {"rounds": 3, "seconds": 1.0, "threads": 1}, "rows": list(rows), "memory": [],
            "references": {"j1": {"paths": 3 * 10**6, "mean": [2.0] * 100, "deviation": [0.5] * 100}}}


def goal(found, what):
    return next(one for one in report.goals(found) if one["what"].startswith(what))


class Statistics(unittest.TestCase):
    def test_a_rate_is_the_median_of_path_steps_over_cpu_seconds(self):
        one = row("x", [1.0, 4.0, 2.0])
        self.assertEqual(report.rates(one), [1e7, 2.5e6, 5e6])
        self.assertEqual(report.rate(one), 5e6)
        self.assertAlmostEqual(report.spread(one), (1e7 - 2.5e6) / 5e6)

    def test_a_ratio_pairs_the_runs_of_a_round(self):
        # Both slow down together: each round says 3, the medians of the rates would as well; then one round is off.
        self.assertAlmostEqual(report.ratio(row("a", [1.0, 2.0, 4.0]), row("b", [3.0, 6.0, 12.0])), 3.0)
        self.assertAlmostEqual(report.ratio(row("a", [1.0, 2.0, 4.0]), row("b", [9.0, 4.0, 8.0])), 2.0)
        self.assertAlmostEqual(report.ratio(row("a", [1.0]), row("b", [5.0]), "seconds"), 5.0)

    def test_the_limit_is_the_bonferroni_quantile(self):
        found = results(row("a", [1.0] * 3), row("b", [1.0] * 3), row("floor", [1.0], mean=None), row("absent", []))
        compared, limit = report.agreement(found)
        self.assertEqual([one["row"] for one in compared], [0, 1])
        tail = 0.5 * math.erfc(limit / math.sqrt(2.0))
        self.assertAlmostEqual(2.0 * tail * 2 * len(report.CHECKED) / report.FALSE_ALARM, 1.0, places=6)

    def test_means_differ_from_just_above_the_limit_on(self):
        _, limit = report.agreement(results(row("a", [1.0] * 3)))
        error = 0.5 * math.sqrt(1.0 / 3e6 + 1.0 / 3e6)
        for times, agrees in ((0.999, True), (1.001, False), (-0.999, True), (-1.001, False)):
            for checkpoint in report.CHECKED:
                mean = [2.0] * 100
                mean[checkpoint - 1] += times * limit * error
                (one,), _ = report.agreement(results(row("a", [1.0] * 3, mean=mean)))
                self.assertEqual((one["agrees"], one["checkpoint"]), (agrees, checkpoint))
                self.assertAlmostEqual(one["z"], times * limit, places=6)

    def test_a_mean_that_is_no_number_does_not_agree(self):
        mean = [2.0] * 99 + [math.nan]
        (one,), _ = report.agreement(results(row("a", [1.0] * 3, mean=mean)))
        self.assertFalse(one["agrees"])


class Goals(unittest.TestCase):
    def test_a_goal_is_met_from_its_limit_on(self):
        for seconds, met in ((1.6, True), (1.4, False)):
            found = goal(results(row(report.ENGINE, [1.0] * 3), row(report.SFMT, [seconds] * 3)), "J1 against oneMKL")
            self.assertEqual((found["met"], found["measured"], found["goal"]), (met, f"{seconds}x", ">= 1.5x"))

    def test_over_the_floor_is_the_engine_s_time_over_the_floor_s(self):
        for seconds, met in ((1.1, True), (1.2, False)):
            floor = row(report.FLOOR_NORMALS, [1.0], mean=None)
            found = goal(results(row(report.ENGINE, [seconds]), floor), "J1's time")
            self.assertEqual((found["met"], found["measured"]), (met, f"{seconds}x"))

    def test_avx2_is_held_against_avx2(self):
        found = results(row(report.ENGINE, [1.0]), row(report.ENGINE, [2.0], isa="avx2"), row(report.SFMT, [1.8]),
                        row(report.SFMT, [2.4], isa="avx2"))
        against = [one for one in report.goals(found) if one["what"].startswith("J1 against oneMKL")]
        self.assertEqual([one["measured"] for one in against], ["1.8x", "1.2x"])

    def test_threads_count_by_the_clock(self):
        two = row(report.ENGINE, [1.0], threads=2)
        two["rounds"] = [{"paths": 10**6, "seconds": 1.04, "cpu_seconds": 2.0}]
        found = goal(results(row(report.ENGINE, [1.0]), two), "J1 with two threads")
        self.assertEqual((found["measured"], found["met"]), ("1.92x", True))

    def test_cost_of_workers_and_of_nu(self):
        found = results(row(report.ENGINE, [1.0], group="j3"), row(report.N64, [1.2], group="j3"),
                        row(report.ENGINE, [1.4], group="j3_nu3"))
        self.assertEqual(goal(found, "J3: time with N = 64")["met"], False)
        self.assertEqual(goal(found, "J3: time with nu = 3")["measured"], "1.4x")

    def test_what_did_not_run_is_not_measured(self):
        found = goal(results(row(report.ENGINE, [1.0]), row(report.SFMT, [], skipped="not built")), "J1 against oneMKL")
        self.assertEqual((found["met"], found["measured"]), (None, "not measured"))

    def test_the_floor_of_j2_is_the_time_of_its_words_and_normals(self):
        # 1e7 words and 5e6 normals a second; J2 at 1e7 / 300 path-steps a second.
        found = results(row(report.FLOOR_BITS, [1.0], mean=None), row(report.FLOOR_NORMALS, [2.0], mean=None),
                        row(report.ENGINE, [300.0], group="j2"))
        expected = 300.0 / (report.J2_WORDS + 2 * report.J2_NORMALS)
        self.assertEqual(goal(found, "J2's time over its floor")["measured"], f"{expected:.3g}x")

    def test_memory(self):
        found = results(row(report.ENGINE, [1.0]))
        found["memory"] = [{"experiment": "performance_j1", "paths": 10**6, "steps": 1000, "bytes": size}
                           for size in (200_000_000, 200_100_000)]
        self.assertEqual([one["met"] for one in report.goals(found) if one["what"].startswith("memory")], [True, False])


class Page(unittest.TestCase):
    def setUp(self):
        self.results = results(row(report.ENGINE, [1.0] * 3), row("Fast <1>", [0.25] * 3, isa=""),
                               row("Slow", [50.0] * 3, isa=""), row("Gone", [], skipped="No module named 'gone'"),
                               row("Off", [1.0] * 3, mean=[2.1] * 100))

    def test_the_table_says_what_each_tool_did(self):
        lines = report.table(self.results)
        split = [[cell.strip() for cell in line.split("|")[1:]] for line in lines if line.startswith("| ")]
        cells = {line[0]: line[1:] for line in split}
        self.assertEqual(cells["Fast <1>"][:4], ["its own", "40", "0%", "0.25"])
        self.assertEqual(cells["Slow"][1:4], ["0.2", "0%", "50"])
        self.assertEqual(cells[report.ENGINE][:4], ["avx512", "10", "0%", ""])
        self.assertEqual(cells["Gone"][1], "not run: No module named 'gone'")
        self.assertIn("differs", cells["Off"][4])
        self.assertTrue(any("Means of Off differ" in line for line in lines))
        self.results["rows"].pop()
        self.assertTrue(any(line.startswith("All means agree") for line in report.table(self.results)))

    def test_the_block_of_a_name_is_replaced_and_nothing_else(self):
        begin = "<!-- generated by bench/peers/run.py: {} -->"
        text = f"a\n{begin.format('peers')}\nold\n<!-- end -->\nb\n{begin.format('goals')}\nkept\n<!-- end -->\nc\n"
        new = report.write_between(text, "peers", ["new", ""])
        self.assertEqual(new, text.replace("old", "new"))
        with self.assertRaises(ValueError):
            report.write_between("a\n", "peers", ["new"])

    def test_the_page_is_what_its_figures_make_of_it(self):
        text, figures = (ROOT / "docs/performance.md").read_text(), json.loads((ROOT / "docs/peers.json").read_text())
        self.assertEqual(run.page_of(figures, text), text)
        self.assertEqual(report.picture(figures), (ROOT / "docs/images/peers.svg").read_text())
        self.assertEqual(run.json_text(figures) + "\n", (ROOT / "docs/peers.json").read_text())

    def test_bars_are_as_long_as_the_logarithm(self):
        tree = xml.etree.ElementTree.fromstring(report.picture(self.results))
        bars = [float(one.get("width")) for one in tree.iter("{http://www.w3.org/2000/svg}rect")
                if one.get("fill") != "#ffffff"]
        # In million path-steps per CPU second, from 0.1 on: 40, 10 and 10, 0.2.
        self.assertEqual(len(bars), 4)
        self.assertAlmostEqual(bars[1] / bars[0], 2.0 / math.log10(400.0), places=2)
        self.assertAlmostEqual(bars[3] / bars[0], math.log10(2.0) / math.log10(400.0), places=2)


class Jobs(unittest.TestCase):
    def test_jobs_are_those_of_the_experiments(self):
        one = jobs.load("j1")
        self.assertEqual((one.steps, one.every, one.eta, one.sigma, one.workers, one.scalar),
                         (1000, 10, 0.01, 0.5, 1, True))
        one = jobs.load("j3_nu3")
        self.assertEqual((one.steps, one.nu, one.workers, one.kept, len(one.h)), (200, 3.0, 8, 0, 64))
        self.assertEqual((one.overrides, jobs.load("j3_n64").workers), (("noise.nu=3.0",), 64))
        self.assertAlmostEqual(one.h[0], 0.1)
        self.assertAlmostEqual(one.h[63], 1.0)
        self.assertEqual((jobs.load("j2").kept, jobs.load("j4").curve), (16, "sde"))

    def test_the_constants_of_the_cpp_peers_are_the_same(self):
        text = (PEERS / "peer.hpp").read_text()

        def constants(space):
            body = re.search(rf"namespace {space} {{(.*?)}}  // namespace {space}", text, re.S).group(1)
            return {name: float(value.rstrip("f")) for name, value in re.findall(r"(\w+) = ([\d.]+f?)[,;]", body)}

        scalar, vector = constants("scalar_job"), constants("vector_job")
        for name in ("j1", "j4"):
            job = jobs.load(name)
            self.assertEqual((scalar["steps"], scalar["start"], scalar["eta"], scalar["sigma"]),
                             (job.steps, job.start, job.eta, job.sigma))
        for name, eta in (("j2", "dcsgd_eta"), ("j3", "dsignsgd_eta")):
            job = jobs.load(name)
            self.assertEqual((vector["steps"], vector["start"], vector["dim"], vector["workers"], vector[eta]),
                             (job.steps, job.start, len(job.h), job.workers, job.eta))
        self.assertEqual(vector["kept"], jobs.load("j2").kept)


@unittest.skipUnless("PATHBOUND_CLI" in os.environ, "needs the program")
class Run(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def peer(self, name, factor=1.0, dies=-1):
        path = self.folder / f"{name}.py"
        path.write_text(FAKE_PEER.replace("%FACTOR%", str(factor)).replace("%DIES%", str(dies)))
        return f"{name}={sys.executable} {path}"

    def run_j2(self, *peers, tools=""):
        """So short a time that everything runs with its least number of paths: the same numbers on every machine."""
        build = str(pathlib.Path(os.environ["PATHBOUND_CLI"]).parent)
        arguments = ["--groups", "j2", "--tools", tools, "--rounds", "2", "--seconds", "1e-9",
                     "--reference-seconds", "1e-9",
                     "--build", build, "--venv", str(self.folder / "no"), "--peers", str(self.folder / "no"),
                     "-o", str(self.folder / "out")]
        for one in peers:
            arguments += ["--extra", one]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            status = run.main(arguments)
        found = json.loads((self.folder / "out/peers.json").read_text())
        rows = {one["tool"]: one for one in found["rows"] if one["threads"] == 1 and one["isa"] != "avx2"}
        return status, rows, found

    def test_the_engine_agrees_with_an_exact_peer_and_absent_tools_are_named(self):
        status, rows, found = self.run_j2(self.peer("exact"))
        self.assertEqual(status, 0)
        self.assertEqual(len(rows["exact"]["rounds"]), 2)
        self.assertEqual(rows["exact"]["version"], "fake 1")
        for tool in ("JAX, threefry", "C++, std::mt19937_64"):
            self.assertIn("No such file", rows[tool]["skipped"])
        engine = rows[report.ENGINE]
        self.assertEqual([one["paths"] for one in engine["rounds"]], [1024, 1024])
        self.assertTrue(all(one["cpu_seconds"] > 0 for one in engine["rounds"]))
        page = (self.folder / "out/peers.md").read_text()
        self.assertIn("| exact |", page)
        xml.etree.ElementTree.parse(self.folder / "out/peers.svg")
        # The same page from the stored figures.
        with contextlib.redirect_stdout(io.StringIO()):
            arguments = ["--from", str(self.folder / "out/peers.json"), "-o", str(self.folder / "again")]
            self.assertEqual(run.main(arguments), 0)
        self.assertEqual((self.folder / "again/peers.md").read_text(), page)

    def test_a_peer_that_is_wrong_and_one_that_dies_are_errors(self):
        for peers, wrong in (([self.peer("wrong", factor=1.1)], ["wrong"]), ([self.peer("mortal", dies=3)], [])):
            status, rows, found = self.run_j2(*peers, tools="^pathbound$|wrong|mortal")
            self.assertEqual(status, 1)
            differ = [found["rows"][one["row"]]["tool"] for one in report.agreement(found)[0] if not one["agrees"]]
            self.assertEqual(differ, wrong)
        self.assertEqual((rows["mortal"]["skipped"], rows["mortal"]["rounds"]), ("out of luck", []))

    def test_without_the_engine_nothing_runs(self):
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            self.assertEqual(run.main(["--build", str(self.folder)]), 2)
        self.assertIn("is not built", errors.getvalue())


if __name__ == "__main__":
    unittest.main()
