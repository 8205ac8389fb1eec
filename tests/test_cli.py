#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The program as its user meets it: command lines, files, exit statuses, messages, signals, what a run writes.

Every test works in a temporary folder. No random numbers of its own; the program's seeds are fixed, so nothing here can
fail by chance but the time limits, which are generous.
"""
import csv
import json
import math
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = os.environ.get("PATHBOUND_CLI") or shutil.which("pathbound")
if not PROGRAM or not os.path.exists(PROGRAM):
    print("skipped: no pathbound program (set PATHBOUND_CLI)")
    sys.exit(77)
PROGRAM = os.path.abspath(PROGRAM)

GOOD = """title = "two workers"
seed = 3
paths = 64
steps = 20
checkpoints = 4

[objective]
kind = "quadratic"
dim = 4
spectrum = { kind = "geometric", min = 0.1, max = 1.0 }

[noise]
scale = 0.5

[workers]
count = 2

[[curve]]
name = "plain"
method = "dsgd"
eta = 0.1

[[curve]]
name = "rand"
method = "dcsgd"
eta = 0.05
compressor = { kind = "rand_k", k = 2 }

[[bound]]
theorem = "B3"
curve = "plain"
"""
MODEL = GOOD + '''
[[curve]]
name = "its SDE"
model = "first_order"
of = "rand"
'''
LONG = GOOD.replace("paths = 64", "paths = 100000000").replace("steps = 20", "steps = 100000")

CSV_HEADER = "curve,step,time,paths,finite,mean,stderr,lower,upper,min,max,q05,q25,q50,q75,q95,grad_norm,regime"


def changed(old, new, text=GOOD):
    """GOOD with one line changed."""
    assert text.count(old) >= 1, old
    return text.replace(old, new, 1)


def objective(body, text=GOOD):
    """GOOD with another [objective]."""
    start, end = text.index("[objective]"), text.index("[noise]")
    return text[:start] + "[objective]\n" + body + "\n\n" + text[end:]


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="pathbound_cli_")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def write(self, name, text):
        with open(self.path(name), "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return name

    def call(self, *arguments, env=None, timeout=60, **options):
        environment = dict(os.environ)
        for name in ("PATHBOUND_ISA", "PATHBOUND_TILE", "PATHBOUND_LAUNCH_SECONDS"):
            environment.pop(name, None)
        environment.update(env or {})
        options.setdefault("stdout", subprocess.PIPE)
        return subprocess.run([PROGRAM, *arguments], cwd=self.folder, env=environment, stderr=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, timeout=timeout, **options)

    def everything(self):
        """All files and folders, with sizes."""
        found = {}
        for where, folders, files in os.walk(self.folder):
            for name in folders:
                found[os.path.relpath(os.path.join(where, name), self.folder)] = None
            for name in files:
                file = os.path.join(where, name)
                found[os.path.relpath(file, self.folder)] = os.lstat(file).st_size
        return found

    def refused(self, *arguments, says=(), status=2, env=None):
        """The call ends with `status`, says all of `says` on stderr, nothing on stdout, and leaves no file."""
        before = self.everything()
        done = self.call(*arguments, env=env)
        error = done.stderr.decode(errors="replace")
        what = f"pathbound {' '.join(arguments)}\nstderr: {error}"
        self.assertEqual(done.returncode, status, what)
        self.assertEqual(done.stdout, b"", what)
        self.assertNotEqual(error.strip(), "", what)
        for word in [says] if isinstance(says, str) else says:
            self.assertIn(word, error, what)
        self.assertEqual(self.everything(), before, what)
        return error

    def run_ok(self, *arguments, status=0, env=None, timeout=60):
        done = self.call("run", *arguments, env=env, timeout=timeout)
        self.assertEqual(done.returncode, status, done.stderr.decode(errors="replace"))
        return done

    def devices(self):
        """Numbers of the CUDA devices, and the reason why there are none."""
        text = self.call("list", "devices").stdout.decode()
        ids = re.findall(r"(?m)^  cuda (\d+) ", text)
        why = re.search(r"(?m)^  cuda +none: (.+)$", text)
        self.assertEqual(bool(ids), why is None, text)
        return ids, why and why.group(1)

    def results(self, folder):
        def no_constant(text):
            raise AssertionError(f"{text} in results.json")

        with open(self.path(folder, "results.json"), encoding="utf-8") as file:
            return json.load(file, parse_constant=no_constant)

    def bytes_of(self, *parts):
        with open(self.path(*parts), "rb") as file:
            return file.read()


# ---------------------------------------------------------------------------------------------- wrong command lines
class CommandLines(Case):
    def setUp(self):
        super().setUp()
        self.write("good.toml", GOOD)

    def test_no_or_unknown_command(self):
        self.refused(says="subcommand")
        self.refused("nosuch", says="pathbound")
        self.refused("--bogus", says="pathbound")
        for command in ("run", "check", "trace", "sample", "bits"):
            self.refused(command, says="required")

    def test_unknown_options(self):
        self.refused("run", "good.toml", "--bogus", says="--bogus")
        self.refused("run", "good.toml", "--path", "3", says="--path")
        self.refused("check", "good.toml", "-o", "out", says="-o")
        self.refused("list", "--bogus", says="--bogus")
        self.refused("verify", "--bogus", says="--bogus")
        self.refused("verify", "good.toml", says="good.toml")
        self.refused("trace", "good.toml", "--curve", "plain", "--path", "0", "--backend", "cpu", says="--backend")
        self.refused("list", "nonsense", says=["nonsense", "objectives", "devices"])
        self.refused("list", "laws", "bounds", says="bounds")
        self.refused("run", "good.toml", "--quiet=3", says="quiet")
        self.refused("bits", "--seed", "0", "--path", "0", "-n", "1", "extra", says="extra")

    def test_bad_numbers(self):
        bad = ["-1", "1e5", "nan", "0x10", "99999999999999999999999", "", "1.5", "abc", "1_000", " 1", "+1"]
        for number in bad:
            self.refused("run", "good.toml", f"--paths={number}", says=["--paths"])
        for number in ("-1", "1e5", "0x10", "9223372036854775808"):
            self.refused("run", "good.toml", f"--seed={number}", says=["--seed", "9223372036854775807"])
        for number in ("0", "-2", "5000", "two"):
            self.refused("run", "good.toml", f"--threads={number}", says=["--threads", "1 to 4096"])
        self.refused("run", "good.toml", "--paths=0", says=["--paths", "1 to 1099511627776"])
        self.refused("run", "good.toml", "--paths", says="--paths")
        self.refused("run", "good.toml", "--paths", "3", "--paths", "4", says="--paths")
        self.refused("trace", "good.toml", "--curve", "plain", "--path", "0", "--every", "0", says="--every")
        self.refused("bits", "--seed", "0", "--path", "0", "-n", "18446744073709551616", says="-n")
        self.refused("sample", "--law", "gaussian", "-n", "1", "--dim", "0", says="--dim")

    def test_leading_zeros_are_decimal(self):
        lines = self.call("bits", "--seed", "000", "--path", "0", "-n", "010").stdout.split()
        self.assertEqual(len(lines), 10)

    def test_sample(self):
        self.refused("sample", "--law", "cauchy", "-n", "1", says=["cauchy", "gaussian", "student_t", "multivariate_t"])
        self.refused("sample", "--law", "student_t", "-n", "1", says="--nu")
        self.refused("sample", "--law", "gaussian", "--nu", "3", "-n", "1", says="--nu")
        self.refused("sample", "--law", "gaussian", "-n", "1", "--precision", "half", says=["half", "double"])
        for nu in ("nan", "inf", "-1", "0", "0.29", "1e10", "0x10", "three", ""):
            self.refused("sample", "--law", "student_t", f"--nu={nu}", "-n", "1", says="--nu")
        self.refused("sample", "--law", "alpha_stable", "-n", "1", says=["alpha_stable", "--alpha"])
        self.refused("sample", "--law", "contaminated_gaussian", "--k", "3", "-n", "1", says="--eps")
        self.refused("sample", "--law", "contaminated_gaussian", "--eps", "0.1", "-n", "1", says="--k")
        self.refused("sample", "--law", "laplace", "--alpha", "1", "-n", "1", says=["--alpha", "laplace"])
        self.refused("sample", "--law", "alpha_stable", "--alpha", "1.5", "--k", "2", "-n", "1", says="--k")
        for alpha in ("nan", "inf", "-1", "0", "0.29", "2.01", "half"):
            self.refused("sample", "--law", "alpha_stable", f"--alpha={alpha}", "-n", "1", says="--alpha")
        self.refused("sample", "--law", "alpha_stable", "--alpha=0.059", "--precision=double", "-n1", says="0.06")
        for eps, k in (("0", "2"), ("1", "2"), ("nan", "2"), ("0.1", "0"), ("0.1", "-1"), ("0.1", "inf")):
            self.refused("sample", "--law", "contaminated_gaussian", f"--eps={eps}", f"--k={k}", "-n", "1",
                         says="must be a number")

    def test_trace(self):
        self.refused("trace", "good.toml", "--curve", "nosuch", "--path", "0", says=["nosuch", "'plain'", "'rand'"])
        self.refused("trace", "good.toml", "--curve", "plain", "--path", "64", says=["--path 64", "0 to 63"])
        self.refused("trace", "good.toml", "--curve", "plain", says="--path")
        self.refused("trace", "good.toml", "--path", "0", says="--curve")
        self.refused("trace", "nosuch.toml", "--curve", "plain", "--path", "0", says="nosuch.toml")
        self.refused("trace", "good.toml", "--curve", "plain", "--path", "0", "--set", "steps=10000000", says="--every")

    def test_experiment_that_is_not_there(self):
        self.refused("run", "nosuch.toml", says=["nosuch.toml", "no such file"])
        self.refused("run", "", says="empty")
        self.refused("run", "good", says="good.toml")
        self.refused("run", "theorem3_quadratc", says="did you mean 'theorem3_quadratic'")
        self.refused("run", self.folder, says="directory")
        os.mkdir(self.path("folder"))
        self.refused("check", "folder", says="directory")

    def test_output_folder(self):
        self.write("file", "x")
        self.refused("run", "good.toml", "-o", "file", says=["-o", "file", "not a folder"])
        self.refused("run", "good.toml", "-o", "file/below", says=["-o", "file", "not a folder"])
        self.refused("run", "good.toml", "-o", "", says="--out")
        os.mkdir(self.path("other"))
        self.write("other/good.toml", GOOD)
        self.refused("run", "good.toml", "other/good.toml", says=["results/good"])
        self.refused("run", "good.toml", "good.toml", "-o", "out", says=["out/good"])
        self.write("...", GOOD)
        self.refused("run", "...", says="-o")
        self.write("results", "a file")
        self.refused("run", "good.toml", says=["results", "not a folder"])

    def test_environment(self):
        for command in (["run", "good.toml"], ["check", "good.toml"],
                        ["trace", "good.toml", "--curve", "plain", "--path", "0"]):
            self.refused(*command, env={"PATHBOUND_ISA": "nonsense"}, says=["PATHBOUND_ISA", "scalar, avx2 or avx512"])
        for tile in ("0", "3", "64", "-1", "08", "two", " 1"):
            for command in (["run", "good.toml"], ["check", "good.toml"]):
                self.refused(*command, "--backend", "cpu", env={"PATHBOUND_TILE": tile},
                             says=["PATHBOUND_TILE", tile, "1, 2, 4, 8, 16 or 32"])
        for seconds in ("0", "-1", "nan", "1e9", "0.1s"):
            self.refused("run", "good.toml", "--backend", "cpu", env={"PATHBOUND_LAUNCH_SECONDS": seconds},
                         says=["PATHBOUND_LAUNCH_SECONDS", seconds, "0.0001 to 10000"])

    def test_set(self):
        for value, words in {
            "foo": "key=value", "=3": "key", "noise.=3": "dotted key", "noise.scale=": "noise.scale",
            "noise.scale=-1": "must be a number >= 0", "noise.scale=nan": "must be a number >= 0",
            "noise.scal=1": "did you mean 'scale'", "workers.count=1.5": "integer", "paths=1e5": "write 100000",
            "curve.nosuch.eta=1": "no curve 'nosuch'", "curve.3.eta=1": "no curve '3'", "curve.plain=1": "curve",
            "bound.B4.expect=holds": "no bound 'B4'", "bound.B3.expect=maybe": "inconclusive",
            "noise.law=cauchy": "gaussian", "noise.nu=3": "does not belong", "title.x=1": "not a table",
            "curve.rand.compressor.k=5": "dim = 4", "noise=5": "table", "paths=[": "TOML", "title=two words": "quotes",
        }.items():
            self.refused("run", "good.toml", "--set", value, says=["--set", words])
        self.refused("run", "good.toml", "--set", says="--set")

    def test_all_wrong_files_are_reported_and_none_is_run(self):
        self.write("bad1.toml", changed("paths = 64", "paths = 0"))
        self.write("bad2.toml", changed('kind = "quadratic"', 'kind = "cubic"'))
        self.write("data.csv", "1,2,3\n1,x,3\n")
        self.write("bad3.toml", objective('kind = "least_squares"\ndim = 2\nfile = "data.csv"'))
        error = self.refused("run", "good.toml", "bad1.toml", "bad2.toml", "nosuch.toml", "bad3.toml", "-o", "out",
                             says=["bad1.toml:3", "bad2.toml", "nosuch.toml", "data.csv:2"])
        self.assertNotIn("good.toml", error)


# --------------------------------------------------------------------------------------------------------- backends
class Backends(Case):
    """On every machine: a build with or without CUDA, with or without a device."""
    COMMANDS = (["run", "good.toml"], ["check", "good.toml"], ["verify"])

    def setUp(self):
        super().setUp()
        self.write("good.toml", GOOD)

    def test_wrong_arguments(self):
        for command in self.COMMANDS:
            self.refused(*command, "--backend", "gpu", says=["--backend", "gpu", "cuda"])
            self.refused(*command, "--devices", "", says=["--devices", "0,1"])
            for devices in ("x", "0,", ",0", "0,,1", "-1", "+1", "0 1", "0, 1", "1.5", "0x1", "99999999999"):
                self.refused(*command, f"--devices={devices}", says=["--devices", devices, "0,1"])
            self.refused(*command, "--devices", "1,2,1", says=["--devices 1,2,1", "device 1", "twice"])
            self.refused(*command, "--devices", "0", "--devices", "1", says="--devices")
            self.refused(*command, "--devices", "0", "--backend", "cpu", says=["--devices 0", "--backend cpu"])

    def test_without_a_device(self):
        ids, why = self.devices()
        if ids:
            self.skipTest("this machine has a CUDA device")
        built = "no CUDA backend" not in why
        for command in self.COMMANDS:
            for devices in ([], ["--devices", "0"]):
                error = self.refused(*command, "--backend", "cuda", *devices, status=3, says=["--backend cuda", why])
                self.assertEqual(len(error.strip().splitlines()), 1, error)
            error = self.refused(*command, "--devices", "0", status=3 if built else 2, says=["--devices 0", "CUDA"])
            self.assertEqual(len(error.strip().splitlines()), 1, error)
        note = self.run_ok("good.toml").stderr.decode()
        if built:
            self.assertIn(why, note)
        self.assertEqual(len(note.splitlines()), int(built), note)
        self.assertEqual(self.run_ok("good.toml", "--quiet").stderr, b"")
        environment = self.results("results/good")["environment"]
        self.assertEqual((environment["backend"], environment["device"]), ("cpu", "cpu"))

    def test_with_devices(self):
        ids, _ = self.devices()
        if not ids:
            self.skipTest("this machine has no CUDA device")
        for command in self.COMMANDS:
            self.refused(*command, "--devices", f"{ids[0]},4000", says=["--devices", "no device 4000", f"({ids[0]})"])
        self.run_ok("good.toml", "-o", "cpu", "--backend", "cpu")
        for devices in ids[0], ",".join(ids):
            for tile in ("", "2"):
                done = self.run_ok("good.toml", "-o", "cuda", "--devices", devices, env={"PATHBOUND_TILE": tile})
                environment = self.results("cuda")["environment"]
                self.assertEqual(environment["backend"], "cuda")
                self.assertIn(environment["device"].encode(), done.stdout)
                self.assertEqual(self.bytes_of("cuda", "curves.csv"), self.bytes_of("cpu", "curves.csv"))
        plan = self.call("check", "good.toml").stdout.decode()
        for word in (f"({ids[0]}): kernel ", " a path, ", " paths at once", " records kept at once", " device memory"):
            self.assertIn(word, plan)

    def test_on_the_cpu(self):
        done = self.run_ok("good.toml", "--backend", "cpu", "--threads", "2", env={"PATHBOUND_ISA": "scalar"})
        self.assertIn(b" on 2 threads, scalar", done.stdout)
        self.assertEqual(done.stderr, b"")

    def test_verify(self):
        done = self.call("verify", "--backend", "cpu", "--threads", "2", timeout=110)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertNotEqual(done.stdout.strip(), b"")
        self.assertNotIn(b"FAILED", done.stdout + done.stderr)


# ------------------------------------------------------------------------------------------------------ wrong files
class WrongFiles(Case):
    # what the file says : what the message has to say
    CASES = [
        (b"", ["empty"]),
        (b" \n\t\n", ["empty"]),
        (b"\xff\xfe\x00\x01", ["UTF-16"]),
        (b"\xef\xbb\xbf" + GOOD.encode(), ["byte order mark"]),
        (bytes(range(128, 256)) * 8, ["not UTF-8", ":1"]),
        (b"\x7fELF\x01\x01\x01\x00" * 40, [":1"]),
        (b"just words\n", [":1"]),
        (b"[", [":1"]),
        (changed("paths = 64", "paths = = 64"), [":3:"]),
        (changed("paths = 64", "paths = 64\npaths = 65"), [":4"]),
        (changed("paths = 64", "paths = 99999999999999999999"), [":3:"]),
        (changed("paths = 64", ""), ["'paths' is missing"]),
        (changed("paths = 64", "paths = 0"), [":3", "'paths' = 0", "1 to 2^40"]),
        (changed("paths = 64", "paths = -1"), [":3", "'paths' = -1", "1 to 2^40"]),
        (changed("paths = 64", "paths = 1e5"), ["'paths' = 1", "write 100000"]),
        (changed("paths = 64", "paths = 64.0"), ["'paths' = 64.0", "write 64"]),
        (changed("paths = 64", 'paths = "64"'), ["without quotes"]),
        (changed("paths = 64", "paths = true"), ["'paths' = true"]),
        (changed("paths = 64", "paths = nan"), ["'paths' = nan"]),
        (changed("paths = 64", "paths = 1099511627777"), ["2^40"]),
        (changed("paths = 64", "pahts = 64"), ["did you mean 'paths'"]),
        (changed("steps = 20", "steps = 0"), ["'steps' = 0"]),
        (changed("steps = 20", "steps = 3"), ["'checkpoints' = 4"]),
        (changed("checkpoints = 4", "checkpoints = 0"), ["'checkpoints' = 0"]),
        (changed("checkpoints = 4", "checkpoint_steps = []"), ["checkpoint_steps"]),
        (changed("checkpoints = 4", "checkpoint_steps = [0, 5, 5]"), ["entry 3 = 5", "ascend"]),
        (changed("checkpoints = 4", "checkpoint_steps = [0, 21]"), ["checkpoint_steps"]),
        (changed("checkpoints = 4", "checkpoints = 4\ncheckpoint_steps = [0, 5]"), ["checkpoint"]),
        (changed("seed = 3", "seed = -3"), ["'seed' = -3"]),
        (changed("seed = 3", 'precision = "half"'), ["float, double"]),
        (changed("seed = 3", "limit = 0"), ["'limit' = 0", "(0, 2^100]"]),
        (changed("seed = 3", "limit = 1e-30"), ["'limit' = 1e-30", "must be above S(x0)"]),
        (changed("seed = 3", "limit = inf"), ["'limit' = inf"]),
        (changed('title = "two workers"', "title = 3"), ["'title' = 3"]),
        (changed('title = "two workers"', 'title = "a\\u0007b"'), ["title"]),
        (changed('kind = "quadratic"', 'kind = "quadratik"'), ["did you mean 'quadratic'"]),
        (changed('kind = "quadratic"', ""), ["objective.kind", "missing"]),
        (changed("dim = 4", "dim = 0"), ["objective.dim", "1 to 65536"]),
        (changed("dim = 4", "dim = 65537"), ["objective.dim", "1 to 65536"]),
        (changed("dim = 4", "dim = 1"), ["compressor.k", "dim = 1"]),
        (changed("dim = 4", "dim = 4\nstart = [1, 2]"), ["objective.start", "4 needed, 2 given"]),
        (changed("dim = 4", "dim = 4\nstart = nan"), ["objective.start"]),
        (changed("dim = 4", "dim = 4\nstart = 1e39"), ['precision = "double"']),
        (changed("dim = 4", "dim = 4\nrows = 3"), ["objective.rows", "least_squares"]),
        (changed("min = 0.1", "min = 0"), ["spectrum.min"]),
        (changed("min = 0.1", "min = 2.0"), ["spectrum.max"]),
        (changed('{ kind = "geometric", min = 0.1, max = 1.0 }', "3"), ["spectrum"]),
        (changed("scale = 0.5", "scale = -0.5"), ["noise.scale"]),
        (changed("scale = 0.5", "nu = 3"), ["noise.nu", "student_t"]),
        (changed("scale = 0.5", 'law = "student_t"'), ["noise.nu", "missing"]),
        (changed("scale = 0.5", 'law = "student_t"\nnu = 0.2'), ["noise.nu", "0.3"]),
        (changed("scale = 0.5", "eta = 0.5"), ["noise.eta", "[[curve]]"]),
        (changed("count = 2", "count = 0"), ["workers.count", "1 to 4096"]),
        (changed("count = 2", "count = 4097"), ["workers.count", "1 to 4096"]),
        (changed("count = 2", "count = 2\nbatch = 0.5"), ["workers.batch"]),
        (changed("count = 2", "count = 2\nscale = [1, 2, 3]"), ["workers.scale", "2 needed, 3 given"]),
        (changed("count = 2", "count = 2\nk = 9"), ["workers.k"]),
        (changed('name = "plain"', 'name = ""'), ["name"]),
        (changed('name = "plain"', 'name = "a,b"'), ["name", "commas"]),
        (changed('name = "plain"', 'name = "rand"'), ["rand"]),
        (changed('name = "plain"', ""), ["name", "missing"]),
        (changed('method = "dsgd"', 'method = "sgd"'), ["dsgd, dcsgd, dsignsgd"]),
        (changed("eta = 0.1", "eta = 0"), ["curve.plain.eta", "> 0"]),
        (changed("eta = 0.1", "eta = -1"), ["curve.plain.eta", "> 0"]),
        (changed("eta = 0.1", "eta = 1e-40"), ["curve.plain.eta", "double"]),
        (changed("eta = 0.1", ""), ["curve.plain.eta", "missing"]),
        (changed("eta = 0.1", 'eta = 0.1\ncompressor = { kind = "rand_k", k = 1 }'), ["compressor"]),
        (changed("eta = 0.1", 'eta = 0.1\nschedule = { kind = "cosinus" }'), ["constant, polynomial"]),
        (changed("eta = 0.1", 'eta = 0.1\nadaptive = { kind = "l0l1", theta = 0 }'), ["adaptive.theta"]),
        (changed('method = "dsgd"', 'method = "clipped_dsgd"'), ["curve.plain.clip", "missing"]),
        (changed("eta = 0.1", "eta = 0.1\npaths = 0"), ["curve.plain.paths"]),
        (changed("k = 2", "k = 5"), ["compressor.k", "dim = 4"]),
        (changed('kind = "rand_k", k = 2', 'kind = "bernoulli", p = 0'), ["compressor.p"]),
        (changed('kind = "rand_k", k = 2', 'kind = "rand_k"'), ["compressor.k", "missing"]),
        (changed('theorem = "B3"', 'theorem = "B9"'), ["B3, B3p"]),
        (changed('theorem = "B3"\ncurve = "plain"', 'theorem = "B3"\ncurve = "plan"'), ["did you mean 'plain'"]),
        (changed('theorem = "B3"', 'theorem = "B3"\nexpect = "true"'), ["holds, violated"]),
        (changed('theorem = "B3"', 'theorem = "B3"\nconfidence = 1.0'), ["confidence"]),
        (changed('theorem = "B3"', 'theorem = "B3"\nmargin = -1'), ["margin"]),
        (GOOD + '\n[[bound]]\ntheorem = "B3"\ncurve = "plain"\n', ["B3"]),
        (GOOD[: GOOD.index("[[curve]]")], ["curve"]),
        (GOOD + "\n[nonsense]\nx = 1\n", ["nonsense"]),
        ("a = " + "[" * 100 + "]" * 100 + "\n" + GOOD, [":1"]),
        (".".join("abcdefghijklmnopqrstuvwxyz") + " = 1\n" + GOOD, [":1", "20 dotted parts"]),
        (objective('kind = "least_squares"\ndim = 2\nfile = "nosuch.csv"'), ["nosuch.csv"]),
        (objective('kind = "least_squares"\nfile = "ragged.csv"'), ["objective.dim", "missing"]),
        (objective('kind = "least_squares"\ndim = 2\nfile = "ragged.csv"'), ["ragged.csv:2"]),
        (objective('kind = "least_squares"\ndim = 3\nfile = "ragged.csv"'), ["ragged.csv:1", "objective.dim = 3"]),
        (objective('kind = "least_squares"\ndim = 2\nfile = "none.csv"'), ["none.csv", "no data rows"]),
        (objective('kind = "logistic"\ndim = 2\nlam = 0.1\nfile = "one.svm"'), ["one.svm", "two classes"]),
        (objective('kind = "logistic"\ndim = 2\nlam = 0.1\nfile = "three.svm"'), ["three.svm", "two"]),
        (objective('kind = "least_squares"\ndim = 2\nfile = "."'), ["directory"]),
        (objective('kind = "saddle"\ndim = 2\nlam = 1\neigenvalues = [1, 2]'), ["eigenvalues"]),
        (changed('of = "rand"', 'of = "rnad"', MODEL), ["did you mean 'rand'", "methods here: plain, rand"]),
        (changed('of = "rand"', 'of = "its SDE"', MODEL), ["a model is not of itself"]),
        (changed('of = "rand"', "", MODEL), ["curve.its SDE.of", "missing"]),
        (changed('"first_order"', '"third_order"', MODEL), ["curve.its SDE.model", "hessian_aware"]),
        (changed('model = "first_order"', "", MODEL), ["curve.its SDE.method", "missing", "or give model"]),
        (MODEL + 'method = "dsgd"\n', ["curve.its SDE.model", "does not go together with method"]),
        (MODEL + "eta = 0.1\n", ["curve.its SDE.eta", "a model takes it from"]),
        (MODEL + 'compressor = { kind = "rand_k", k = 2 }\n', ["curve.its SDE.compressor", "a model takes it from"]),
        (MODEL + "substeps = 0\n", ["curve.its SDE.substeps", "1 to 10000"]),
        (MODEL + 'integrator = "moment"\n', ["curve.its SDE.integrator", "hessian_aware"]),
        (changed("eta = 0.1", "eta = 0.1\nsubsteps = 3"), ["curve.plain.substeps", "belongs to a curve with a model"]),
        (changed("scale = 0.5", 'law = "student_t"\nnu = 2', MODEL), ["curve.its SDE.of", "covariance", "nu > 2"]),
        (objective('kind = "least_squares"\ndim = 4\nrows = 9', changed('"first_order"', '"hessian_aware"', MODEL)),
         ["curve.its SDE.model", "separable"]),
        (changed('"first_order"', '"curvature"', changed('of = "rand"', 'of = "plain"', changed(
            'method = "dsgd"', 'method = "dsignsgd"', changed("scale = 0.5", "affine = 0.5", MODEL)))),
         ["curve.its SDE.model", "derivative of the drift"]),
        (objective('kind = "least_squares"\ndim = 4\nrows = 9', changed('of = "rand"', 'of = "plain"', changed(
            'method = "dsgd"', 'method = "dsignsgd"', changed("scale = 0.5", 'law = "multivariate_t"\nnu = 3', MODEL)))),
         ["curve.its SDE.of", "signs depend on each other"]),
        (changed("steps = 20", "steps = 1099511627776", changed("dim = 4", "dim = 4096", MODEL)) + "substeps = 10000\n",
         ["curve.its SDE: steps", "below 2^60", "substeps"]),
    ]

    def setUp(self):
        super().setUp()
        self.write("ragged.csv", "1,2,3\n1,2\n")
        self.write("none.csv", "# nothing\n\n")
        self.write("one.svm", "1 1:1\n1 2:1\n")
        self.write("three.svm", "1 1:1\n0 2:1\n-1 1:2\n")

    def test_each(self):
        self.assertGreaterEqual(len(self.CASES), 70)
        for number, (text, words) in enumerate(self.CASES):
            with self.subTest(number=number, words=words):
                self.write("wrong.toml", text)
                error = self.refused("run", "wrong.toml", "-o", "out", says=words)
                self.assertIn(".", error)  # names a file
                self.refused("check", "wrong.toml", says=words)

    def test_all_problems_at_once(self):
        text = changed("paths = 64", "paths = 0", changed("dim = 4", "dim = 0", changed("eta = 0.1", "eta = 0")))
        self.write("wrong.toml", text)
        error = self.refused("run", "wrong.toml")
        self.assertEqual(len(error.strip().splitlines()), 3, error)

    def test_very_long_lines(self):
        text = changed("paths = 64", "paths = " + "9" * 100_000)
        self.write("wrong.toml", changed("two workers", "x" * 1_000_000, text))
        self.assertLess(len(self.refused("run", "wrong.toml")), 5000)
        self.write("wrong.toml", changed("eta = 0.1", "eta = [" + "1, " * 300_000 + "]"))
        self.assertLess(len(self.refused("run", "wrong.toml", says="eta")), 5000)


# ------------------------------------------------------------------------------------------------- machine, signals
class Machine(Case):
    def setUp(self):
        super().setUp()
        self.write("good.toml", GOOD)
        self.write("long.toml", LONG)

    COMMANDS = (["run", "good.toml", "-o", "out"], ["check", "good.toml"], ["list"], ["--help"], ["--version"],
                ["trace", "good.toml", "--curve", "plain", "--path", "0"],
                ["bits", "--seed", "0", "--path", "0", "-n", "9"],
                ["bits", "--seed", "0", "--path", "0", "-n", "9", "--raw"],
                ["sample", "--law", "gaussian", "-n", "9"], ["sample", "--law", "gaussian", "-n", "9", "--raw"])

    def test_stdout_full(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        for command in self.COMMANDS:
            with open("/dev/full", "wb") as full:
                done = self.call(*command, stdout=full)
            self.assertEqual(done.returncode, 3, command)
            self.assertIn(b"cannot write to stdout", done.stderr, command)

    def test_stdout_closed(self):
        for command in self.COMMANDS:
            done = self.call(*command, stdout=None, preexec_fn=lambda: os.close(1))
            self.assertEqual(done.returncode, 3, (command, done.stderr))

    def test_reader_gone(self):
        read, write = os.pipe()
        os.close(read)
        done = self.call("bits", "--seed", "0", "--path", "0", "-n", "1000000", stdout=write)
        os.close(write)
        self.assertIn(done.returncode, (3, -signal.SIGPIPE))

    def test_folder_that_may_not_be_written(self):
        os.mkdir(self.path("locked"))
        os.chmod(self.path("locked"), 0o555)
        self.addCleanup(os.chmod, self.path("locked"), 0o755)
        if os.access(self.path("locked"), os.W_OK):
            self.skipTest("this user may write everywhere")
        self.refused("run", "long.toml", "-o", "locked", status=3, says="locked")  # found before the run
        self.refused("run", "long.toml", "-o", "locked/below", status=3, says="locked")

    def test_a_folder_that_cannot_be_made(self):
        if os.path.isdir("/proc/self"):
            self.refused("run", "good.toml", "-o", "/proc/pathbound-results", status=3, says="/proc/pathbound-results")

    def interrupt(self, number, command, after=0.5):
        before = self.everything()
        command = [*command, "--backend", "cpu"]  # which says nothing of its own on stderr
        process = subprocess.Popen([PROGRAM, *command], cwd=self.folder, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            time.sleep(after)
            self.assertIsNone(process.poll(), process.stderr.read() if process.poll() is not None else "")
            sent = time.monotonic()
            process.send_signal(number)
            out, error = process.communicate(timeout=20)
        finally:
            process.kill()
        self.assertEqual(process.returncode, 130, error)
        self.assertLess(time.monotonic() - sent, 2.0, command)
        self.assertIn(b"interrupted", error)
        self.assertEqual(len(error.strip().splitlines()), 1, error)
        self.assertEqual(self.everything(), before)
        return out

    def test_interrupted_run(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.assertEqual(self.interrupt(number, ["run", "long.toml", "-o", "out"]), b"")
        big = ["--set", "objective.dim=65536", "--set", "workers.count=64", "--set", "curve.rand.compressor.k=30000"]
        self.interrupt(signal.SIGINT, ["run", "long.toml", "-o", "out", *big])
        self.interrupt(signal.SIGTERM, ["check", "long.toml", *big])

    def test_interrupted_while_waiting_for_input(self):
        os.mkfifo(self.path("pipe.toml"))
        self.interrupt(signal.SIGTERM, ["run", "pipe.toml"])
        self.interrupt(signal.SIGINT, ["check", "pipe.toml"])

    def test_interrupted_run_leaves_older_results(self):
        self.run_ok("good.toml", "-o", "out")
        self.interrupt(signal.SIGINT, ["run", "long.toml", "-o", "out"])

    def test_memory(self):
        # The scalar performance job with fewer steps: memory must depend on neither paths nor steps.
        text = """paths = 1000000
steps = 200
[objective]
kind = "quartic"
[[curve]]
name = "c"
method = "dsgd"
eta = 0.0009765625
"""
        script = ("import resource, subprocess, sys; r = subprocess.run(sys.argv[1:]); "
                  "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(r.returncode)")
        self.write("job.toml", text)
        peaks = []
        for paths, steps in ((1000000, 200), (50000, 50), (50000, 2000)):
            done = subprocess.run([sys.executable, "-c", script, PROGRAM, "run", "job.toml", "--quiet", "--backend",
                                   "cpu", "--threads", "2", "-o", "out", "--paths", str(paths), "--set",
                                   f"steps={steps}"], cwd=self.folder, capture_output=True, timeout=60, check=True)
            peaks.append(int(done.stdout) / 1024)
            self.assertEqual(self.results("out")["curves"][0]["finite"][-1], paths)
        self.assertLess(max(peaks), 200, peaks)
        self.assertLess(max(peaks) - min(peaks), 20, peaks)


# ------------------------------------------------------------------------------------------------- what a run gives
class Runs(Case):
    def setUp(self):
        super().setUp()
        self.write("good.toml", GOOD)

    def comparable(self, folder):
        results = self.results(folder)
        del results["environment"], results["performance"]
        return results

    def test_expectations(self):
        done = self.run_ok("good.toml", "--set", "bound.B3.expect=violated", status=1)
        self.assertIn(b"EXPECTED violated", done.stdout)
        results = self.results("results/good")
        self.assertEqual(results["bounds"][0]["expect"], "violated")
        self.assertNotEqual(results["bounds"][0]["verdict"], "violated")
        verdict = results["bounds"][0]["verdict"]
        self.run_ok("good.toml", "--set", f"bound.B3.expect={verdict}")
        done = self.run_ok("good.toml", "--quiet", "--set", "bound.B3.expect=violated", status=1)
        self.assertEqual(done.stdout, b"")
        for word in (b"B3", b"plain", verdict.encode(), b"expected violated"):
            self.assertIn(word, done.stderr)

    def test_quiet_and_progress(self):
        done = self.run_ok("good.toml", "--quiet")
        self.assertEqual((done.stdout, done.stderr), (b"", b""))
        # Long enough for a progress line, were there a terminal.
        done = self.run_ok("good.toml", "--backend", "cpu", "--paths", "400000")
        self.assertEqual(done.stderr, b"")
        for word in (b"two workers", b"plain", b"rand", b"B3", b"results/good/report.html"):
            self.assertIn(word, done.stdout)
        self.assertNotIn(b"\033", done.stdout)

    def test_folders(self):
        self.write("second one.toml", changed("seed = 3", "seed = 4"))
        self.run_ok("good.toml", "second one.toml", "-o", "deep/out")
        names = ["curves.csv", "report.html", "results.json"]
        for stem in ("good", "second one"):
            self.assertEqual(sorted(os.listdir(self.path("deep/out", stem))), names)
        self.run_ok("good.toml", "-o", "single/")
        self.assertEqual(sorted(os.listdir(self.path("single"))), names)
        self.run_ok("./good.toml")
        self.assertEqual(sorted(os.listdir(self.path("results"))), ["good"])
        self.assertEqual(sorted(os.listdir(self.path("results/good"))), names)
        self.assertNotEqual(self.comparable("deep/out/good"), self.comparable("deep/out/second one"))
        self.assertEqual(self.comparable("deep/out/good"), self.comparable("results/good"))

    def test_shipped_experiment(self):
        names = re.findall(rb"^  (\w+) ", self.call("list", "experiments").stdout, re.M)
        self.assertIn(b"performance_j1", names)
        os.mkdir(self.path("performance_j1"))  # a folder of that name is not in the way
        self.run_ok("performance_j1", "--paths", "32", "-o", "performance_j1")
        self.assertEqual(self.results("performance_j1")["curves"][0]["paths"], 32)

    def test_overrides(self):
        self.run_ok("good.toml", "-o", "plain")
        self.run_ok("good.toml", "-o", "out", "--seed", "12345678901234567", "--paths", "40", "--set", "steps=10",
                    "--set", "noise.scale=0.25", "--set", "curve.rand.eta=0.01", "--set", 'title="über <b>"')
        results = self.results("out")
        experiment = results["experiment"]
        self.assertEqual((results["title"], experiment["seed"], experiment["paths"], experiment["steps"]),
                         ("über <b>", 12345678901234567, 40, 10))
        for curve in experiment["curve"]:
            self.assertEqual((curve["seed"], curve["paths"], curve["steps"]), (12345678901234567, 40, 10))
            self.assertEqual(curve["noise"]["scale"], 0.25)
        self.assertEqual([c["eta"] for c in experiment["curve"]], [0.1, 0.01])
        self.assertEqual([c["paths"] for c in results["curves"]], [40, 40])
        self.assertEqual(results["curves"][0]["step"], [0, 3, 5, 8, 10])
        self.run_ok("good.toml", "-o", "other", "--seed", "4")
        self.assertNotEqual(self.results("plain")["curves"][0]["mean"], self.results("other")["curves"][0]["mean"])
        self.run_ok("good.toml", "-o", "same", "--seed", "3", "--paths", "64")
        self.assertEqual(self.comparable("plain"), self.comparable("same"))

    def test_same_bits(self):
        """Any number of threads, any instruction set, both precisions: the same numbers."""
        isas = re.search(r"instruction sets:(.*)", self.call("list", "devices").stdout.decode()).group(1).split()
        for precision in ("float", "double"):
            first = None
            for isa, threads in [("", 1), ("", 2), ("", 3)] + [(isa, 1) for isa in isas]:
                self.run_ok("good.toml", "-o", "out", "--paths", "5001", "--backend", "cpu", "--threads", str(threads),
                            "--set", f"precision={precision}", "--set",
                            "noise={law=\"student_t\", nu=3, scale=0.5}", env={"PATHBOUND_ISA": isa})
                environment = self.results("out")["environment"]
                self.assertEqual(environment["threads"], threads)
                if isa:
                    self.assertEqual(environment["isa"], isa)
                now = (self.comparable("out"), self.bytes_of("out", "curves.csv"))
                first = first or now
                self.assertEqual(now, first, (precision, isa, threads))

    def test_sizes(self):
        for paths in (1, 31, 32, 33, 5001):
            self.run_ok("good.toml", "-o", "out", "--paths", str(paths))
            self.check_results(self.results("out"))
            self.assertEqual(self.results("out")["curves"][0]["finite"], [paths] * 5)

    def test_odd_experiments(self):
        """Odd but legal: exit status 0, valid results, no number where none exists."""
        self.write("crlf.csv", "a,b,y\r\n1,2,1\r\n3,4,-1\r\n2,2,1\r\n")
        self.write("one.csv", "1,2,3\r\n")
        self.write("data.svm", "+1 1:2 2:3\n-1 2:1\n")
        data = [objective('kind = "least_squares"\ndim = 2\nfile = "one.csv"'),
                objective('kind = "logistic"\ndim = 2\nlam = 0.1\nfile = "crlf.csv"'),
                objective('kind = "logistic"\ndim = 2\nlam = 0.1\nfile = "data.svm"'),
                objective('kind = "least_squares"\ndim = 20\nrows = 10\nrank = 3')]
        name = "<b>\u00fc &amp; </script> \u65e5\u672c"
        for text, sets in [(text, []) for text in data] + [(GOOD, sets) for sets in (
                ["curve.plain.eta=1e30"], ["curve.plain.eta=1e-30"], ["noise.scale=1e30"], ["noise.scale=0"],
                ["objective.start=0", "noise.scale=0"], ["steps=1", "checkpoints=1"], ['noise={law="student_t", nu=0.3}'], ['noise={law="multivariate_t", nu=1}'],
                ["objective.dim=65536", "paths=32", "steps=4"], ["workers.count=4096"],
                ["curve.rand.compressor.k=4"], ["workers={count=2, scale=[0.1, 5], batch=[1, 7.5], k=[1, 4]}"],
                [f'title="{name}"', f'curve.rand.name="{name}"'])]:
            with self.subTest(sets=sets):
                self.write("odd.toml", text)
                arguments = [word for key in sets for word in ("--set", key)]
                done = self.run_ok("odd.toml", "-o", "out", *arguments)
                self.assertNotRegex(done.stdout.decode(), r"\b(nan|inf)\b")
                results = self.results("out")
                self.check_results(results)
                page = self.bytes_of("out", "report.html").decode()
                self.assertNotIn("<b>\u00fc", page)

    def check_results(self, results):
        """Section by section what docs/output.md promises."""
        self.assertEqual(list(results), ["schema", "title", "experiment", "environment", "curves", "bounds",
                                         "comparisons", "performance"])
        self.assertEqual((results["schema"], results["comparisons"]), (1, []))
        self.assertEqual(set(results["environment"]), {"version", "commit", "backend", "device", "isa", "threads"})
        self.assertIn(results["environment"]["isa"], ("scalar", "avx2", "avx512"))
        self.assertIn(results["environment"]["backend"], ("cpu", "cuda"))
        performance = results["performance"]
        self.assertEqual(set(performance), {"seconds", "path_steps", "path_steps_per_second"})
        self.assertEqual(performance["path_steps"], sum(c["paths"] * c["steps"] for c in results["experiment"]["curve"]))
        experiment = results["experiment"]
        self.assertEqual(len(results["curves"]), len(experiment["curve"]))
        for curve, config in zip(results["curves"], experiment["curve"]):
            self.assertEqual(set(curve), {
                "name", "kind", "step", "time", "paths", "finite", "mean", "stderr", "lower", "upper", "band", "mean_is",
                "min", "max", "quantiles", "grad_norm", "regime", "sampling", "notes"})
            self.assertEqual((curve["name"], curve["kind"], curve["paths"]), (config["name"], "method", config["paths"]))
            several = config["sampling"] == "auto" and config["workers"]["count"] > 1
            self.assertIn(curve["sampling"], ("direct", "marginal") if several else ("direct",))
            self.assertIn(curve["band"], ("bonferroni_t", "median_of_means", "none"))
            self.assertIn(curve["mean_is"], ("expectation", "restricted", "does_not_exist"))
            self.assertEqual(list(curve["quantiles"]), ["0.05", "0.25", "0.5", "0.75", "0.95"])
            self.assertEqual(curve["step"], sorted(set(curve["step"])))
            self.assertEqual((curve["step"][0], curve["step"][-1]), (0, config["steps"]))
            size = len(curve["step"])
            columns = [curve[key] for key in ("time", "finite", "mean", "stderr", "lower", "upper", "min", "max",
                                              "grad_norm", "regime")] + list(curve["quantiles"].values())
            for column in columns:
                self.assertEqual(len(column), size)
                for value in column:
                    self.assertTrue(value is None or math.isfinite(value))
            missing = any(value is None for column in columns for value in column)
            self.assertTrue(not missing or any("null" in note for note in curve["notes"]), curve["notes"])
            self.assertTrue(all(0 <= n <= curve["paths"] for n in curve["finite"]))
            self.assertEqual(curve["finite"], sorted(curve["finite"], reverse=True))
            for i in range(size):
                mean, low, high = curve["mean"][i], curve["lower"][i], curve["upper"][i]
                if mean is not None:
                    self.assertLessEqual(curve["min"][i], mean * (1 + 1e-12))
                    self.assertLessEqual(mean, curve["max"][i] * (1 + 1e-12))
                if None not in (mean, low, high) and curve["band"] == "bonferroni_t":
                    self.assertTrue(low <= mean <= high)
                quantiles = [q[i] for q in curve["quantiles"].values() if q[i] is not None]
                self.assertEqual(quantiles, sorted(quantiles))
        names = [curve["name"] for curve in results["curves"]]
        self.assertEqual(len(results["bounds"]), len(experiment["bound"]))
        for bound in results["bounds"]:
            self.assertEqual(set(bound) - {"expect"}, {
                "theorem", "curve", "speaks_of", "quantity", "constants", "assumptions", "value", "empirical", "lower",
                "upper", "verdict", "confidence", "margin", "worst", "tightness", "paths_to_decide", "reason"})
            self.assertIn(bound["curve"], names)
            self.assertIn(bound["speaks_of"], ("sde", "iterates"))
            self.assertEqual(bound["quantity"], "suboptimality")
            self.assertIn(bound["verdict"], ("holds", "violated", "inconclusive", "not_applicable"))
            self.assertTrue(bound["reason"])
            self.assertEqual(set(bound["worst"]), {"step", "ratio"})
            for assumption in bound["assumptions"]:
                self.assertEqual(set(assumption), {"name", "status", "detail"})
                self.assertIn(assumption["status"], ("proved", "observed", "failed", "unchecked"))
            size = len(results["curves"][names.index(bound["curve"])]["step"])
            for key in ("value", "empirical", "lower", "upper"):
                self.assertEqual(len(bound[key]), size)
            if any(assumption["status"] == "failed" for assumption in bound["assumptions"]):
                self.assertEqual(bound["verdict"], "not_applicable")

    def test_files(self):
        self.run_ok("good.toml", "-o", "out", "--set", "noise.law=student_t", "--set", "noise.nu=1.5")
        results = self.results("out")
        self.check_results(results)
        text = self.bytes_of("out", "curves.csv").decode()
        self.assertEqual(text.split("\n")[0], CSV_HEADER)
        self.assertNotIn("\r", text)
        rows = list(csv.DictReader(text.splitlines()))
        self.assertEqual(len(rows), 10)
        for row, (curve, i) in zip(rows, [(c, i) for c in results["curves"] for i in range(5)]):
            self.assertEqual((row["curve"], int(row["step"]), int(row["paths"])),
                             (curve["name"], curve["step"][i], curve["paths"]))
            for column in ("time", "finite", "mean", "stderr", "lower", "upper", "min", "max", "grad_norm", "regime"):
                value = curve[column][i]
                self.assertEqual(row[column] and float(row[column]), "" if value is None else value, column)
        self.assertIsNone(results["curves"][0]["mean"][-1])  # nu < 2: it does not exist
        page = self.bytes_of("out", "report.html").decode()
        self.assertTrue(page.lstrip().lower().startswith("<!doctype html"))
        for tag in re.findall(r"<[a-zA-Z][^<>]*\b(?:src|href)\s*=\s*[\"']?[^\"'>\s]+", page):
            self.assertRegex(tag, r"(?:src|href)\s*=\s*[\"']?(?:#|data:)", "the page loads something")
        self.assertNotRegex(page, r"@import|url\(\s*[\"']?(?:https?:)?//")

    # ---- trace
    def trace(self, file, curve, path, *arguments):
        done = self.call("trace", file, "--curve", curve, "--path", str(path), *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return list(csv.DictReader(done.stdout.decode().splitlines()))

    def test_models(self):
        """A model's curve, its comparison with the method, and a run that says what the two have in common."""
        coupled = changed('of = "rand"', 'of = "plain"\nsubsteps = 1', MODEL)  # one Euler step of DSGD: DSGD itself
        self.write("models.toml", MODEL + changed("its SDE", "Euler", coupled[len(GOOD):]))
        said = self.run_ok("models.toml", "-o", "out", "--paths", "5000").stdout.decode()
        self.assertIn("Models against their methods", said)
        results = self.results("out")
        kinds = {curve["name"]: curve["kind"] for curve in results["curves"]}
        self.assertEqual(kinds, {"plain": "method", "rand": "method", "its SDE": "model", "Euler": "model"})
        model = next(curve for curve in results["curves"] if curve["name"] == "its SDE")
        self.assertEqual((model["of"], model["integrator"], model["substeps"]), ("rand", "euler_maruyama", 10))
        sde, euler = results["comparisons"]
        self.assertEqual((sde["method"], sde["model"]), ("rand", "its SDE"))
        means = {curve["name"]: curve["mean"] for curve in results["curves"]}
        at = sde["step"].index(sde["at_step"])
        self.assertAlmostEqual(sde["max_weak_error"], means["rand"][at] - means["its SDE"][at], places=12)
        self.assertGreater(sde["stderr"], 0.0)
        self.assertGreater(sde["variance_reduction"], 1.0)
        self.assertLess(abs(euler["max_weak_error"]), 1e-5)  # float's rounding
        self.assertIsNone(euler["variance_reduction"])  # it would be a ratio to roundings
        self.assertFalse(euler["resolved"])
        self.assertTrue(any("compares nothing" in note for note in euler["notes"]), euler["notes"])
        rows = self.trace("models.toml", "its SDE", 0, "--every", "5")
        self.assertEqual(len(rows), 5)
        self.assertIn("model first_order of 'rand' (euler_maruyama, 10 and 20 substeps)",
                      self.call("check", "models.toml").stdout.decode())

    def test_trace_is_the_run(self):
        self.run_ok("good.toml", "-o", "out", "--paths", "1")
        for curve in self.results("out")["curves"]:
            rows = self.trace("good.toml", curve["name"], 0)
            self.assertEqual(list(rows[0]), ["step", "suboptimality", "grad_norm", "diverged", "x1", "x2", "x3", "x4"])
            self.assertEqual([int(row["step"]) for row in rows], list(range(21)))
            for i, step in enumerate(curve["step"]):
                row = rows[step]
                self.assertEqual(float(row["suboptimality"]), curve["mean"][i])
                self.assertEqual(float(row["grad_norm"]), curve["grad_norm"][i])
                self.assertEqual(row["diverged"], "0")
        # Path 33 lives in the second block; the largest of 34 paths is one of them.
        self.run_ok("good.toml", "-o", "out", "--paths", "34")
        last = [float(self.trace("good.toml", "plain", path, "--every", "20")[-1]["suboptimality"])
                for path in range(34)]
        curve = self.results("out")["curves"][0]
        self.assertEqual((min(last), max(last)), (curve["min"][-1], curve["max"][-1]))
        self.assertAlmostEqual(sum(last) / 34, curve["mean"][-1], places=12)

    def test_trace_options(self):
        every = self.trace("good.toml", "plain", 5, "--every", "7")
        self.assertEqual([int(row["step"]) for row in every], [0, 7, 14, 20])
        whole = self.trace("good.toml", "plain", 5)
        self.assertEqual(every, whole[::7] + whole[-1:])
        self.assertNotEqual(every, self.trace("good.toml", "plain", 6, "--every", "7"))
        self.assertNotEqual(every, self.trace("good.toml", "plain", 5, "--every", "7", "--seed", "9"))
        double = float(self.trace("good.toml", "plain", 5, "--set", "precision=double")[-1]["x1"])
        self.assertNotEqual(double, struct.unpack("f", struct.pack("f", double))[0])
        diverged = self.trace("good.toml", "plain", 0, "--set", "limit=1e-30")
        self.assertEqual(diverged[-1]["diverged"], "1")
        for isa in ("scalar", ""):
            done = self.call("trace", "good.toml", "--curve", "rand", "--path", "40", env={"PATHBOUND_ISA": isa})
            first = done.stdout if isa else first
            self.assertEqual(done.stdout, first)


# --------------------------------------------------------------------------------------------- sample, bits, list
class Words(Case):
    def out(self, *arguments):
        done = self.call(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_known_words(self):
        # Random123, kat_vectors: philox4x32 10, counter 0, key 0.
        words = self.out("bits", "--seed", "0", "--path", "0", "-n", "4").split()
        self.assertEqual([f"{int(word):08x}" for word in words], ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"])

    def test_bits(self):
        call = ("bits", "--seed", "7", "--path", "3", "-n")
        words = [int(word) for word in self.out(*call, "9001").split()]
        raw = self.out(*call, "9001", "--raw")
        self.assertEqual(list(struct.unpack("<9001I", raw)), words)
        for offset in (0, 1, 4095, 4096, 8999):
            part = self.out(*call, "2", "--offset", str(offset)).split()
            self.assertEqual([int(word) for word in part], words[offset:offset + 2])
        self.assertEqual(self.out(*call, "0"), b"")
        self.assertNotEqual(self.out("bits", "--seed", "7", "--path", "4", "-n", "4"), self.out(*call, "4"))

    def test_sample(self):
        for law, nu in (("gaussian", []), ("student_t", ["--nu", "3"]), ("multivariate_t", ["--nu=2.5"]), ("laplace", []),
                        ("logistic", []), ("contaminated_gaussian", ["--eps", "0.1", "--k=30"]),
                        ("alpha_stable", ["--alpha", "1.25"])):
            for precision, code, size in (("float", "f", 4), ("double", "d", 8)):
                call = ("sample", "--law", law, *nu, "--dim", "3", "--precision", precision, "--seed", "5", "-n", "700")
                raw = self.out(*call, "--raw")
                self.assertEqual(len(raw), 2100 * size)
                numbers = struct.unpack(f"<2100{code}", raw)
                lines = self.out(*call).decode().splitlines()
                self.assertEqual([line.count(",") for line in lines], [2] * 700)
                text = [float(cell) for line in lines for cell in line.split(",")]
                packed = struct.unpack(f"<2100{code}", struct.pack(f"<2100{code}", *text))
                self.assertEqual(packed, numbers)
                self.assertTrue(all(map(math.isfinite, numbers)))
                few = self.out(*call[:-1], "2")
                self.assertEqual(few.decode().splitlines(), lines[:2])
        self.assertEqual(self.out("sample", "--law", "gaussian", "-n", "0"), b"")

    def test_list(self):
        everything = self.out("list").decode()
        components = {
            "objectives": ["quadratic", "quartic", "cosh", "sine_pl", "least_squares", "logistic", "saddle"],
            "methods": ["dsgd", "dcsgd", "dsignsgd", "dnsgd", "clipped_dsgd", "heavy_ball", "adam"],
            "models": ["first_order", "second_order", "curvature", "hessian_aware", "euler_maruyama", "weak2", "moment"],
            "laws": ["gaussian", "student_t", "multivariate_t", "laplace", "logistic", "contaminated_gaussian",
                     "alpha_stable"],
            "compressors": ["identity", "rand_k", "bernoulli", "rand_k_plain", "qsgd", "natural", "top_k"],
            "schedules": ["constant", "polynomial", "exponential", "step", "cosine"],
            "adaptive": ["none", "gradient_norm", "l0l1", "hessian_norm"],
            "variance_reduction": ["none", "control", "antithetic", "multilevel", "auto"],
            "bounds": ["B3", "B3p", "B3d", "B4", "B4Y", "B4d"], "experiments": ["performance_j1", "theorem3_quadratic"],
            "devices": ["cpu", "cuda"]}
        for what, names in components.items():
            part = self.out("list", what).decode()
            self.assertIn(part, everything)
            for name in names:
                self.assertRegex(part, rf"(?m)^  {name}\b")

    def test_check(self):
        self.write("good.toml", GOOD)
        before = self.everything()
        plan = self.out("check", "good.toml").decode()
        for word in ("good.toml: two workers", "curve 'plain'", "curve 'rand'", "64 paths x 20 steps", "5 records",
                     "bound B3 on 'plain'", " s", " MB"):
            self.assertIn(word, plan)
        self.assertEqual(self.everything(), before)
        plan = self.out("check", "good.toml", "--paths", "77", "--set", 'noise={law="student_t", nu=1}').decode()
        self.assertIn("77 paths", plan)
        self.assertIn("not applicable", plan)

    def test_help(self):
        for command in ([], ["run"], ["check"], ["list"], ["trace"], ["sample"], ["bits"], ["verify"]):
            self.assertIn(b"--help", self.out(*command, "--help"))
        self.assertRegex(self.out("--version"), rb"^pathbound \d+\.\d+\.\d+ ")


if __name__ == "__main__":
    unittest.main()
