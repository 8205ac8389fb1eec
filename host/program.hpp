// SPDX-License-Identifier: Apache-2.0
// What the programs (pathbound and the benchmarks) have in common: exit statuses and the errors that lead
// to them, signals, stdout, --backend and --devices.
#pragma once
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "host/engine.hpp"

namespace pathbound {

enum Exit : int { done = 0, unexpected = 1, bad_input = 2, bad_machine = 3, interrupted = 130 };

inline std::atomic<bool> stop_requested{false};

/// SIGINT and SIGTERM ask for a stop; a second one ends the program at once. Without SA_RESTART: a read that waits, of
/// a pipe given as experiment, is given up, too.
inline void watch_signals() {
  struct sigaction action = {};
  action.sa_handler = [](int) {
    stop_requested = true;
    std::signal(SIGINT, SIG_DFL);
    std::signal(SIGTERM, SIG_DFL);
  };
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

/// stdout as a checked stream: a full disk or a closed pipe is an error of the machine, not silence.
inline void print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size())
    throw MachineError(fmt::format("cannot write to stdout: {}", std::strerror(errno)));
}
inline void flush_stdout() {
  if (std::fflush(stdout) != 0) throw MachineError(fmt::format("cannot write to stdout: {}", std::strerror(errno)));
}

/// The exit status of body(). What it throws ends as one message on stderr, `when_interrupted()` after a signal.
template <class Body, class WhenInterrupted>
int guarded(const char* program, const Body& body, const WhenInterrupted& when_interrupted) {
  const auto failed = [&](Exit status, const std::string& message) -> int {
    // A system call that a signal ended fails in its own words.
    fmt::print(stderr, "{}\n", stop_requested ? when_interrupted() : message);
    return stop_requested ? interrupted : status;
  };
  try {
    return body();
  } catch (const InputError& error) {
    return failed(bad_input, error.what());
  } catch (const Interrupted&) {
    return failed(interrupted, "interrupted");
  } catch (const std::bad_alloc&) {
    return failed(bad_machine, fmt::format("{}: out of memory", program));
  } catch (const std::exception& error) {
    return failed(bad_machine, fmt::format("{}: {}", program, error.what()));
  }
}

struct BackendArguments {
  std::string backend = "auto", devices;
};

inline void add_backend_options(CLI::App& app, BackendArguments& arguments) {
  app.add_option("--backend", arguments.backend, "auto, cpu or cuda")->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  app.add_option("--devices", arguments.devices, "CUDA devices that share the work, such as 0,1 (default: the first)")
      ->check([](const std::string& text) { return text.empty() ? "must be numbers such as 0,1" : std::string(); });
}

/// Where to run, by the command line and the environment; the choice's note goes to stderr unless `quiet`.
inline RunOptions run_options(const char* program, const BackendArguments& arguments, int threads, bool quiet = false) {
  RunOptions options;
  options.isa = isa_from_environment();
  options.tile = tile_from_environment();
  options.launch_seconds = launch_seconds_from_environment();
  options.threads = threads;
  options.stop = &stop_requested;
  const BackendChoice choice = choose_backend(arguments.backend, arguments.devices);
  options.backend = choice.backend;
  for (const DeviceInfo& device : choice.devices) options.devices.push_back(device.id);
  if (!choice.note.empty() && !quiet) fmt::print(stderr, "{}: {}\n", program, choice.note);
  return options;
}

/// What every benchmark of cases takes.
struct BenchmarkArguments {
  std::vector<std::string> names;  ///< of cases; empty: all
  BackendArguments backend;
  std::string out;
  int threads = 0;
  bool quick = false;
};

/// All but the names. quick_help, out_help: what --quick gives up, and what is written into the folder.
inline void add_benchmark_options(CLI::App& app, BenchmarkArguments& arguments, const std::string& quick_help,
                                  const std::string& out_help) {
  add_backend_options(app, arguments.backend);
  app.add_option("--threads", arguments.threads, "threads (default: all)")->check(CLI::Range(1, 4096));
  app.add_flag("--quick", arguments.quick, quick_help);
  app.add_option("-o,--out", arguments.out, out_help);
}

/// main() of a benchmark: its exit status. `options(app)` adds what it takes, run() does the work.
template <class Options, class Run>
int benchmark_main(const char* program, const char* what, int argc, char** argv, const Options& options,
                   const Run& run) {
  watch_signals();
  std::signal(SIGPIPE, SIG_IGN);
  const auto parse_and_run = [&]() -> int {
    CLI::App app{fmt::format("{}: {}", program, what)};
    options(app);
    try {
      app.parse(argc, argv);
    } catch (const CLI::Success& success) {
      return app.exit(success);  // --help
    } catch (const CLI::ParseError& error) {
      fmt::print(stderr, "{}: {} (see {} --help)\n", program, error.what(), program);
      return bad_input;
    }
    return run();
  };
  return guarded(program, parse_and_run, [] { return std::string("interrupted"); });
}

}  // namespace pathbound
