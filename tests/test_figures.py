#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The scripts that watch speed: compare_builds.py on programs whose rates are known, machine_code.py on a disassembly
whose loops and kinds are known, count_instructions.py on counts that are known."""
import json
import os
import pathlib
import stat
import subprocess
import sys
import tempfile
import textwrap
import unittest

ROOT = pathlib.Path(os.environ.get("PATHBOUND_SOURCE_DIR", pathlib.Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(ROOT / "scripts"))
import machine_code  # noqa: E402

# Takes the options of bench_throughput that count, and gives rates that change from run to run as the files say.
PROGRAM = """\
#!{python}
import json, pathlib, sys
options = dict(one[2:].split("=", 1) for one in sys.argv[1:] if "=" in one)
folder = pathlib.Path(__file__).parent
turn = int((folder / "turn").read_text()) if (folder / "turn").exists() else 0
(folder / "turn").write_text(str(turn + 1))
rates = json.loads((folder / "rates.json").read_text())
pathlib.Path(options["benchmark_out"]).write_text(json.dumps({{"benchmarks": [
    {{"name": name + "/real_time", "run_type": "iteration", "path-steps/s": values[turn % len(values)]}}
    for name, values in rates.items()]}}))
"""


def make_program(folder, name, rates):
    own = pathlib.Path(folder) / name / "bench"
    own.mkdir(parents=True)
    program = own / "bench_throughput"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (own / "rates.json").write_text(json.dumps(rates))
    return own.parent


class CompareBuilds(unittest.TestCase):
    def compare(self, before, after, *options):
        with tempfile.TemporaryDirectory() as folder:
            builds = [make_program(folder, "before", before), make_program(folder, "after", after)]
            out = pathlib.Path(folder) / "out.json"
            done = subprocess.run([sys.executable, ROOT / "scripts/compare_builds.py", *builds, "--rounds", "4",
                                   "-o", out, *options], capture_output=True, text=True)
            result = {one["job"]: one for one in json.loads(out.read_text())["jobs"]} if out.exists() else {}
            return done, result

    def test_says_of_each_job_what_its_ratios_say(self):
        done, result = self.compare(
            {"J1/avx2": [100, 102], "J2/avx2": [10, 10.1], "J3/avx2": [50, 51], "J4/avx2": [100, 50]},
            {"J1/avx2": [90, 91.8], "J2/avx2": [11, 11.11], "J3/avx2": [50, 51], "J4/avx2": [100, 100]})
        self.assertEqual({job: one["verdict"] for job, one in result.items()},
                         {"J1/avx2": "slower", "J2/avx2": "faster", "J3/avx2": "equal", "J4/avx2": "unknown"})
        self.assertAlmostEqual(result["J1/avx2"]["ratio"], 0.9, places=9)
        self.assertAlmostEqual(result["J2/avx2"]["ratio"], 1.1, places=9)
        self.assertEqual(done.returncode, 1)

    def test_exit_status_tells_equal_from_unknown(self):
        self.assertEqual(self.compare({"J1/avx2": [10, 11]}, {"J1/avx2": [10.1, 11.1]})[0].returncode, 0)
        self.assertEqual(self.compare({"J1/avx2": [10, 20]}, {"J1/avx2": [10, 10]})[0].returncode, 3)
        self.assertEqual(self.compare({"J1/avx2": [10, 11]}, {"J1/avx2": [9.7, 10.67]}, "--tolerance", "5")[0].returncode, 0)

    def test_interval_is_that_of_the_t_distribution(self):
        done, result = self.compare({"J1/avx2": [1, 1]}, {"J1/avx2": [1.0, 1.1]})
        self.assertEqual(done.returncode, 3, done.stderr)
        one = result["J1/avx2"]
        # Logarithms 0, a, 0, a: mean a/2, standard error a/2 / sqrt(3), t_3(0.995) = 5.8409.
        self.assertAlmostEqual(one["ratio"], 1.1 ** 0.5, places=9)
        self.assertAlmostEqual(one["low"], 1.1 ** (0.5 - 0.5 * 5.840909 / 3 ** 0.5), places=6)
        self.assertAlmostEqual(one["high"], 1.1 ** (0.5 + 0.5 * 5.840909 / 3 ** 0.5), places=6)

    def test_what_cannot_be_run_is_no_verdict(self):
        done = subprocess.run([sys.executable, ROOT / "scripts/compare_builds.py", "/nowhere", "/nowhere"],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("/nowhere: neither a program nor a build folder", done.stderr)


DISASSEMBLY = """\
\t.section\t.text.kernel,"ax",@progbits
.text.kernel:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/                   IMAD.WIDE.U32 R4, R2, R3, RZ ;
.L_x_2:
        /*0020*/                   FFMA R5, R4.reuse, R4, 1 ;
        /*0030*/                   MUFU.RSQ R6, R5 ;
        /*0040*/              @!P0 BRA `(.L_x_2) ;
        /*0050*/                   LOP3.LUT R7, R6, UR4, R5, 0x96, !PT ;
        /*0060*/                   UIADD3 UR4, UR4, 0x1, URZ ;
        /*0070*/               @P1 BRA `(.L_x_1) ;
        /*0080*/                   STG.E [R2.64], R7 ;
        /*0090*/                   EXIT ;
.L_x_3:
        /*00a0*/                   BRA `(.L_x_3);
"""


class MachineCode(unittest.TestCase):
    def test_finds_the_loops_and_sorts_the_instructions(self):
        ((code, labels),) = machine_code.functions_of(DISASSEMBLY).values()
        self.assertEqual(len(code), 11)
        loops = machine_code.loops_of(code, labels)
        self.assertEqual(loops, [(1, 7), (2, 4)])
        self.assertEqual(machine_code.innermost(loops), [(2, 4)])
        self.assertEqual(machine_code.count_kinds(code[1:8]),
                         {"fp32": 1, "wide": 1, "alu": 1, "special": 1, "uniform": 1, "control": 2})


# Counts 1000 and so many a path-step, of 1000 steps.
VALGRIND = """\
#!{python}
import sys
paths = int(sys.argv[sys.argv.index("--paths") + 1])
print("==1== Collected : " + str(1000 + int({rate} * paths * 1000)), file=sys.stderr)
"""


class CountInstructions(unittest.TestCase):
    def check(self, rate, stored):
        """Of J1, with the tree's own script on a tree that has only what it reads."""
        with tempfile.TemporaryDirectory() as folder:
            tree = pathlib.Path(folder)
            for name in ("scripts/count_instructions.py", "bench/jobs.json", "bench/experiments/performance_j1.toml"):
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                (tree / name).write_text((ROOT / name).read_text())
            (tree / "bench/cpu_instructions.json").write_text(json.dumps(stored))
            cmake = tree / "build/cpu/CMakeFiles/3.25"
            cmake.mkdir(parents=True)
            (cmake / "CMakeCXXCompiler.cmake").write_text(
                'set(CMAKE_CXX_COMPILER_ID "GNU")\nset(CMAKE_CXX_COMPILER_VERSION "12.2.0")\n')
            (tree / "build/cpu/pathbound").touch()
            valgrind = tree / "bin/valgrind"
            valgrind.parent.mkdir()
            valgrind.write_text(VALGRIND.format(python=sys.executable, rate=rate))
            valgrind.chmod(0o755)
            return subprocess.run([sys.executable, tree / "scripts/count_instructions.py", "--check", "J1"],
                                  env=os.environ | {"PATH": f"{valgrind.parent}:{os.environ['PATH']}"},
                                  capture_output=True, text=True)

    def test_start_up_cancels_and_only_growth_beyond_the_tolerance_fails(self):
        stored = {"compiler": "GNU 12.2.0", "jobs": {"J1": 10.0}}
        for rate, status in ((10.0, 0), (10.19, 0), (10.21, 1), (9.0, 0)):
            done = self.check(rate, stored)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertIn(f"{rate:.2f} instructions a path-step", done.stdout)
        self.assertIn("no failure", done.stderr)

    def test_another_compiler_is_said_and_fails_nothing(self):
        done = self.check(20.0, {"compiler": "Clang 14.0.6", "jobs": {"J1": 10.0}})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("built with GNU 12.2.0, the stored figures with Clang 14.0.6", done.stderr)

    def test_a_job_without_a_stored_figure_fails(self):
        self.assertEqual(self.check(10.0, {"compiler": "GNU 12.2.0", "jobs": {}}).returncode, 1)


if __name__ == "__main__":
    unittest.main()
