#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the cuda backend does when the machine fails: no driver, no memory, faulting kernels, a device lost, signals.

Runs on the emulator ptxemu alone (scripts/emulated.sh), which lets chosen calls of the CUDA runtime fail: see
PTXEMU_FAIL in ../shared/ptxemu/README.md. A failure ends in exit status 3 and one message, without a crash or a hang,
and leaves the folder of results as it was. Every test asks the emulator's notes whether the failure took place.
"""
import concurrent.futures
import itertools
import os
import re
import shutil
import signal
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

ENVIRONMENT = {name: value for name, value in os.environ.items()
               if not name.startswith(("PTXEMU_", "PATHBOUND_"))}
ENVIRONMENT["PTXEMU_THREADS"] = "1"  # two programs at a time keep two processors busy

DEVICES = subprocess.run([PROGRAM, "list", "devices"], env=ENVIRONMENT, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, timeout=60, check=False).stdout.decode()
if not re.search(r"(?m)^  cuda 0 +ptxemu", DEVICES):
    print("skipped: no CUDA emulator (scripts/emulated.sh)")
    sys.exit(77)

# On a SMALL device several launches of the step kernel, with a schedule's factors computed before each.
TINY = """seed = 3
paths = 70
steps = 24
checkpoints = 24

[objective]
kind = "quadratic"
dim = 4
spectrum = { kind = "geometric", min = 0.1, max = 1.0 }

[noise]
scale = 0.5

[[curve]]
name = "tiny"
method = "dsgd"
eta = 0.1
schedule = { kind = "polynomial", k0 = 3.0, p = 0.6 }
"""
SMALL = {"PTXEMU_MEM_MB": "3"}
LONG = TINY.replace("paths = 70", "paths = 10000").replace("steps = 24", "steps = 1000000000").replace("schedule", "#")

# Calls that may fail without harm: what is given back at the end, and what is asked on the way to an error.
HARMLESS = {"cudaFree", "cudaFreeHost", "cudaStreamDestroy", "cudaEventDestroy", "cudaGetDevice", "cudaGetLastError"}
# The same, from their second call on: the end of a search for devices sets back what that has changed, and the end of
# a run waits once more.
HARMLESS_LATER = {"cudaSetDevice", "cudaDeviceSynchronize"}


def calls_of_the_program():
    """The functions of the CUDA runtime that the program is linked to."""
    with open(PROGRAM, "rb") as file:
        names = re.findall(rb"\0(cuda[A-Z][A-Za-z0-9]+)(?=\0)", file.read())
    return {name.decode() for name in names if not re.match(rb"cuda(Error|Success|GetError)", name)} | {"launch"}


class Outcome:
    def __init__(self, what, status, out, error):
        self.what, self.status, self.out, self.csv = what, status, out.decode(), None
        lines = error.decode(errors="replace").splitlines()
        self.notes = [line for line in lines if line.startswith(("ptxemu:", "    "))]  # the emulator's
        self.messages = [line for line in lines if line not in self.notes]

    def __str__(self):
        return "\n".join([f"{self.what}: status {self.status}", self.out, *self.messages, *self.notes])

    def reached(self):
        """How many failures took place."""
        return sum(" call " in note and note.startswith("ptxemu: PTXEMU_FAIL:") for note in self.notes)


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="pathbound_failures_")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        for name, text in (("tiny.toml", TINY), ("long.toml", LONG)):
            with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        self.pool = concurrent.futures.ThreadPoolExecutor(2)
        self.addCleanup(self.pool.shutdown, cancel_futures=True)
        self.outs = itertools.count()

    def each(self, function, items):
        """function(item) for all items, two at a time; the first failure is raised."""
        return list(self.pool.map(function, items))

    def contents(self, folder):
        """Every file below with its bytes; None when there is no such folder."""
        if not os.path.exists(folder):
            return None
        found = {}
        for where, _, files in os.walk(folder):
            for name in files:
                with open(os.path.join(where, name), "rb") as file:
                    found[os.path.relpath(os.path.join(where, name), folder)] = file.read()
            found[os.path.relpath(where, folder)] = None
        return found

    def new_out(self, earlier):
        """A folder of results yet to be made, or with results of an earlier run."""
        out = os.path.join(self.folder, f"out-{next(self.outs)}")
        if earlier:
            os.mkdir(out)
            for name in ("results.json", "curves.csv", "report.html"):
                with open(os.path.join(out, name), "w", encoding="utf-8") as file:
                    file.write("earlier " + name)
        return out

    def call(self, *arguments, fail="", env=None, timeout=60):
        environment = {**ENVIRONMENT, **(env or {}), **({"PTXEMU_FAIL": fail} if fail else {})}
        done = subprocess.run([PROGRAM, *arguments], cwd=self.folder, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, check=False)
        what = " ".join([*(f"{k}={v}" for k, v in (env or {}).items()), f"PTXEMU_FAIL={fail}", *arguments])
        return Outcome(what, done.returncode, done.stdout, done.stderr)

    def run_tiny(self, *arguments, experiment="tiny.toml", earlier=False, **options):
        """A run with a folder of its own, which a status other than 0 and 1 leaves as it was."""
        out = self.new_out(earlier)
        before = self.contents(out)
        done = self.call("run", experiment, "-o", out, *arguments, **options)
        after = self.contents(out)
        if done.status in (0, 1):
            self.assertEqual(set(after), {".", "results.json", "curves.csv", "report.html"}, done)
            done.csv = after["curves.csv"]
        else:
            self.assertEqual(after, before, done)
            self.assertEqual(done.out, "", done)
        return done

    def assert_failed(self, done, *says):
        """Status 3 and one message, which holds all of `says`."""
        self.assertEqual(done.status, 3, done)
        self.assertEqual(len(done.messages), 1, done)
        self.assertTrue(done.messages[0].startswith("pathbound: "), done)
        for word in says:
            self.assertIn(word, done.messages[0], done)

    def assert_ok(self, done, csv=None):
        self.assertEqual(done.status, 0, done)
        if csv is not None:
            self.assertEqual(done.csv, csv, done)


class Start(Case):
    """The driver does not start."""
    ERRORS = {"cudaErrorInsufficientDriver": "driver is missing, or too old for CUDA",
              "cudaErrorNoDevice": "no CUDA device",
              "cudaErrorDevicesUnavailable": "busy or unavailable (cudaErrorDevicesUnavailable)",
              "cudaErrorInitializationError": "(cudaErrorInitializationError)"}

    @staticmethod
    def always(error):
        return ",".join(f"cudaGetDeviceCount@{n}={error}" for n in range(1, 9))

    def test_no_device(self):
        on_cpu = self.run_tiny("--backend", "cpu", fail=self.always("cudaErrorNoDevice"))
        self.assert_ok(on_cpu)
        self.assertEqual((on_cpu.reached(), on_cpu.messages), (0, []), "--backend cpu must not start the driver")

        def look(error):
            fail, why = self.always(error), self.ERRORS[error]
            done = self.run_tiny("--backend", "cuda", fail=fail, earlier=True)
            self.assert_failed(done, "--backend cuda: no CUDA device can be used: ", why, "--backend cpu")
            self.assertGreater(done.reached(), 0, done)
            self.assert_failed(self.run_tiny("--devices", "0", fail=fail), "--devices 0", why)
            self.assert_failed(self.call("check", "tiny.toml", "--backend", "cuda", fail=fail), why)
            self.assert_failed(self.call("verify", "--backend", "cuda", fail=fail), why)
            for command in (("run", "tiny.toml", "-o", self.new_out(False)), ("check", "tiny.toml")):
                done = self.call(*command, fail=fail)
                self.assert_ok(done)
                self.assertEqual(len(done.messages), 1, done)
                self.assertRegex(done.messages[0], "^pathbound: no CUDA device is used: .*" + re.escape(why), done)
            self.assert_ok(self.run_tiny(fail=fail), on_cpu.csv)
            done = self.run_tiny("--quiet", fail=fail)
            self.assert_ok(done)
            self.assertEqual((done.messages, done.out), ([], ""), done)
            done = self.call("list", "devices", fail=fail)
            self.assert_ok(done)
            self.assertEqual(done.messages, [], done)
            self.assertRegex(done.out, "(?m)^  cuda +none: .*" + re.escape(why), done)

        self.each(look, self.ERRORS)

    def test_a_broken_device(self):
        """A device that cannot be asked is not used; another one is, when there is one."""
        csv = self.run_tiny("--backend", "cpu").csv
        for call in ("cudaGetDeviceProperties", "cudaDeviceGetAttribute"):
            done = self.call("list", "devices", fail=call + "@1=cudaErrorDevicesUnavailable")
            self.assert_ok(done)
            self.assertEqual(done.reached(), 1, done)
            self.assertRegex(done.out, r"(?m)^  cuda +none: CUDA device 0: .*\(cudaErrorDevicesUnavailable\)$", done)
        done = self.run_tiny(env={"PTXEMU_DEVICES": "2"}, fail="cudaSetDevice@1=cudaErrorDevicesUnavailable")
        self.assert_ok(done, csv)
        self.assertEqual(done.reached(), 1, done)
        self.assertIn("on ptxemu 1 (1)", done.out, done)
        for call in ("cudaSetDevice", "cudaMemGetInfo"):
            fail = call + "@1=cudaErrorDevicesUnavailable"
            done = self.run_tiny(fail=fail)
            self.assert_ok(done, csv)
            self.assertEqual(len(done.messages), 1, done)
            self.assertIn("CUDA device 0", done.messages[0], done)
            self.assert_failed(self.run_tiny("--backend", "cuda", fail=fail), "CUDA device 0",
                               "(cudaErrorDevicesUnavailable)")


class Calls(Case):
    """Calls of the runtime fail, one in each run."""

    def setUp(self):
        super().setUp()
        self.csv = self.run_tiny("--backend", "cpu").csv

    def counts(self, calls):
        """How often each is called when all goes well."""
        done = self.run_tiny("--backend", "cuda", env=SMALL, fail=",".join(f"{call}@999999" for call in sorted(calls)))
        self.assert_ok(done, self.csv)
        counts = dict(re.findall(r"PTXEMU_FAIL: (\w+)@999999 was never reached \((\d+) calls\)", "\n".join(done.notes)))
        self.assertEqual(set(counts), set(calls), done)
        return {call: int(n) for call, n in counts.items()}

    def fail_once(self, call, n, error=None):
        done = self.run_tiny("--backend", "cuda", env=SMALL, earlier=n % 2 == 0,
                             fail=f"{call}@{n}" + (f"={error}" if error else ""))
        self.assertEqual(done.reached(), 1, done)
        harmless = call in HARMLESS or call in HARMLESS_LATER and n > 1
        if harmless and done.status == 0:
            self.assert_ok(done, self.csv)
            self.assertEqual(done.messages, [], done)
        else:
            self.assert_failed(done, "CUDA device 0: ", error or "cudaError")

    def test_every_call(self):
        calls = calls_of_the_program()
        self.assertLessEqual({"launch", "cudaMalloc", "cudaMemcpy2DAsync", "cudaEventSynchronize"}, calls)
        counts = self.counts(calls)
        never = {call for call, n in counts.items() if n == 0}
        self.assertEqual(never, {"cudaDriverGetVersion", "cudaRuntimeGetVersion"})
        del counts["cudaGetDeviceCount"]  # Start
        jobs = [(call, n, None) for call in sorted(counts) for n in range(1, counts[call] + 1)]
        # An error that stays is seen by the next call too, one that does not by this call alone.
        alone = ("cudaMemcpy", "cudaMemcpyAsync", "cudaMemcpy2DAsync", "cudaMemsetAsync", "cudaEventSynchronize",
                 "cudaStreamSynchronize")
        jobs += [(call, n, "cudaErrorInvalidValue") for call, n, _ in jobs if call in alone]
        self.each(lambda job: self.fail_once(*job), jobs)

    def test_launches(self):
        launches = self.counts(["launch"])["launch"]
        self.assertGreaterEqual(launches, 15, "not enough segments")
        errors = ("cudaErrorIllegalAddress", "cudaErrorInvalidConfiguration", "cudaErrorLaunchOutOfResources",
                  "cudaErrorMisalignedAddress")
        self.each(lambda n: self.fail_once("launch", n, errors[n % len(errors)]), range(1, launches + 1))

    def test_device_lost(self):
        launches = self.counts(["launch"])["launch"]

        def lose(n):
            done = self.run_tiny("--backend", "cuda", env=SMALL, fail=f"device_lost@{n}", earlier=n % 2 == 0)
            self.assert_failed(done, "CUDA device 0: ", "cudaErrorDevicesUnavailable")
            self.assertEqual(done.reached(), 1, done)

        self.each(lose, range(1, launches + 1))

    def test_one_of_two_devices_lost(self):
        two = {"PTXEMU_DEVICES": "2", "PTXEMU_MEM_MB": "3"}
        arguments = ("--paths", "8000", "--devices", "0,1")
        csv = self.run_tiny("--backend", "cpu", "--paths", "8000").csv

        def lose(job):
            fail, device = job
            done = self.run_tiny(*arguments, env=two, fail=fail, earlier=True)
            self.assert_failed(done, f"CUDA device {device}: ", "cudaError")
            self.assertEqual(done.reached(), 1, done)

        self.each(lose, [(f"device_lost@{n}:{n % 2}", n % 2) for n in range(1, 10)] +
                  [("cudaMalloc@2:1", 1), ("cudaMalloc@12:1", 1), ("launch@3:1=cudaErrorIllegalAddress", 1),
                   ("cudaEventSynchronize@2:0", 0), ("cudaFuncGetAttributes@1:1", 1)])
        self.assert_ok(self.run_tiny(*arguments, env=two), csv)

    def test_the_second_experiment_fails(self):
        """The first one's results stay, and all of them."""
        shutil.copy(os.path.join(self.folder, "tiny.toml"), os.path.join(self.folder, "second.toml"))
        launches = self.counts(["launch"])["launch"]
        done = self.call("run", "tiny.toml", "second.toml", "-o", "both", "--backend", "cuda", env=SMALL,
                         fail=f"launch@{launches + 3}")
        self.assert_failed(done, "CUDA device 0: ", "cudaErrorLaunchFailure")
        self.assertEqual(done.reached(), 1, done)
        self.assertEqual(os.listdir(os.path.join(self.folder, "both")), ["tiny"])
        files = self.contents(os.path.join(self.folder, "both", "tiny"))
        self.assertEqual(set(files), {".", "results.json", "curves.csv", "report.html"})
        self.assertEqual(files["curves.csv"], self.csv)

    def test_check(self):
        for fail in ("cudaMalloc@3", "launch@2", "launch@3=cudaErrorInvalidConfiguration", "device_lost@4"):
            done = self.call("check", "tiny.toml", "--backend", "cuda", env=SMALL, fail=fail)
            self.assert_failed(done, "CUDA device 0: ", "cudaError")
            self.assertEqual(done.reached(), 1, done)

    def test_verify(self):
        """What fails is a failed row; the others are still made."""
        names = ("random words on device 0", "functions on device 0, float", "functions on device 0, double")

        def verify(job):
            fail, *first = job  # the failures, and how the first three rows about the device end
            done = self.call("verify", "--backend", "cuda", fail=fail, timeout=120)
            self.assertEqual(done.status, 1, done)
            self.assertEqual(done.reached(), len(fail.split(",")), done)
            self.assertRegex(done.messages[-1], r"^pathbound: \d+ of \d+ checks failed$")
            rows = re.findall(r"(?m)^(\S.*?)  +(passed|FAILED)  (.*)$", done.out)
            self.assertGreater(len(rows), 50)
            results = {name: result for name, result, _ in rows}
            self.assertEqual([results[name] for name in names], first, done)
            for name, result, detail in rows:
                if " on the cpu" in name:
                    self.assertEqual(result, "passed", done)
                elif result == "FAILED":
                    self.assertIn("CUDA device 0: ", detail, done)
                    self.assertIn("cudaError", detail, done)
            self.assertRegex(done.out, r"first failure: .* on device 0")

        self.each(verify, (("launch@10=cudaErrorIllegalAddress", "passed", "FAILED", "FAILED"),
                           ("cudaMalloc@2,device_lost@58", "FAILED", "passed", "FAILED")))

    def test_a_kernel_that_never_ends(self):
        """A display's watchdog ends it."""
        done = self.run_tiny("--backend", "cuda", experiment="long.toml", earlier=True,
                             env={"PTXEMU_TIMEOUT": "0.3", "PATHBOUND_LAUNCH_SECONDS": "10000"})
        self.assert_failed(done, "CUDA device 0: ", "cudaErrorLaunchTimeout")


class Memory(Case):
    def test_not_enough(self):
        done = self.run_tiny("--backend", "cuda", "--set", "objective.dim=65536", "--paths", "32",
                             env={"PTXEMU_MEM_MB": "8"}, earlier=True)
        self.assert_failed(done, "curve 'tiny': out of device memory")
        needed, free = map(float, re.search(r"needs at least ([\d.]+) MB, and ([\d.]+) MB are free",
                                            done.messages[0]).groups())
        self.assertGreater(needed, 4 * 65536 * 32 / 1e6, done)
        self.assertLess(free, 8, done)
        for megabytes in ("1", "2"):
            done = self.run_tiny("--backend", "cuda", env={"PTXEMU_MEM_MB": megabytes})
            needed, free = map(float, re.search(r"least ([\d.]+) MB, and ([\d.]+) MB", done.messages[0]).groups())
            self.assertGreater(needed, free, done)
        self.assert_failed(self.call("check", "tiny.toml", "--backend", "cuda", env={"PTXEMU_MEM_MB": "1"}),
                           "out of device memory")

    def test_little(self):
        """Less memory: more waves, the same bits."""
        big = ("--paths", "1000", "--set", "objective.dim=600", "--set", "steps=4", "--set", "checkpoints=4")
        csv = self.run_tiny("--backend", "cpu", *big).csv
        seen = set()
        for megabytes in ("4", "7", "64"):
            env = {"PTXEMU_MEM_MB": megabytes}
            plan = self.call("check", "tiny.toml", "--backend", "cuda", *big, env=env)
            self.assert_ok(plan)
            seen.add(int(re.search(r"paths at once x (\d+) wave", plan.out).group(1)))
            self.assert_ok(self.run_tiny("--backend", "cuda", *big, env=env), csv)
        self.assertEqual(len(seen), 3, seen)
        self.assertIn(1, seen)


class Signals(Case):
    def start(self, *arguments, env=None):
        process = subprocess.Popen([PROGRAM, *arguments, "--backend", "cuda"], cwd=self.folder,
                                   env={**ENVIRONMENT, **(env or {})}, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def wait_for_work(self, process, seconds=1.0):
        """Until the process has used so much processor time: a kernel is running then."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with open(f"/proc/{process.pid}/stat", encoding="utf-8") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            if (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") >= seconds:
                return
            self.assertIsNone(process.poll())
            time.sleep(0.02)
        self.fail("the program does not work")

    def test_interrupted(self):
        before = self.contents(self.folder)
        verify = ("verify", "--devices", "0")
        for number, command in ((signal.SIGINT, ("run", "long.toml", "-o", "out")), (signal.SIGTERM, verify),
                                (signal.SIGTERM, ("run", "long.toml", "-o", "out", "--devices", "0,1"))):
            process = self.start(*command, env={"PTXEMU_DEVICES": "2"})
            self.wait_for_work(process, 2.5 if command is verify else 1.0)
            sent = time.monotonic()
            process.send_signal(number)
            out, error = process.communicate(timeout=60)
            self.assertLess(time.monotonic() - sent, 4.0, command)  # a launch or two, on a busy machine
            self.assertEqual(process.returncode, 130, error)
            self.assertEqual(out, b"", command)
            lines = [line for line in error.decode().splitlines() if not line.startswith("ok ")]
            self.assertEqual(lines, ["interrupted: nothing was written"])
            self.assertEqual(self.contents(self.folder), before)

    def test_a_second_signal(self):
        """Ends the program though a kernel runs that never ends."""
        before = self.contents(self.folder)
        process = self.start("run", "long.toml", "-o", "out", env={"PATHBOUND_LAUNCH_SECONDS": "10000"})
        self.wait_for_work(process)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        self.assertIsNone(process.poll(), "the launch was not in the way")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=5)
        self.assertEqual(process.returncode, -signal.SIGINT)
        self.assertEqual(self.contents(self.folder), before)


class SameBits(Case):
    def test_shipped_experiments(self):
        """Any number of devices writes the file that the CPU writes."""
        def compare(job):
            experiment, *arguments = job
            csv = self.run_tiny("--backend", "cpu", *arguments, experiment=experiment).csv
            self.assertIsNotNone(csv, job)
            for devices in ("0", "0,1", "2,0,1"):
                ids = devices.split(",")
                done = self.run_tiny("--devices", devices, *arguments, experiment=experiment,
                                     env={"PTXEMU_DEVICES": "3"}, fail=",".join(f"launch@999999:{i}" for i in ids))
                self.assertEqual(done.csv, csv, done)
                for i in ids:
                    self.assertIn(f"ptxemu {i} ({i})", done.out, done)
                    self.assertRegex("\n".join(done.notes), rf"launch@999999:{i} was never reached \([1-9]\d* calls\)")

        self.each(compare, (("theorem3_quadratic", "--paths", "400", "--set", "steps=50"),
                            ("heavy_tails", "--paths", "333", "--set", "steps=50")))


if __name__ == "__main__":
    unittest.main()
