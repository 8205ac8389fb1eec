// SPDX-License-Identifier: Apache-2.0
#include "host/verify.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <set>
#include <stdexcept>

#include "host/engine.hpp"
#include "host/version.hpp"
#include "kernels/function_table.hpp"

namespace pathbound {

namespace {

/// splitmix64: pseudo-random bits that no library can change.
class Mixer {
 public:
  explicit Mixer(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

 private:
  std::uint64_t state_;
};

std::uint64_t bits_of(double x) { return as_bits(x); }
std::uint64_t bits_of(float x) { return as_bits(x); }

/// A number without loss, and its bits, which tell NaNs and zeros apart.
template <class R>
std::string exactly(R x) {
  return fmt::format("{:a} [{:#x}]", x, bits_of(x));
}

template <class R>
const char* precision_name() {
  return sizeof(R) == 4 ? "float" : "double";
}

std::string joined(const std::vector<std::string>& words, const char* separator) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : separator) + word;
  return text;
}

std::vector<Isa> available_isas() {
  std::vector<Isa> all;
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512})
    if (isa_available(isa)) all.push_back(isa);
  return all;
}

// ------------------------------------------------------------------------------------------- random words

/// Philox4x32-10: seed, path and block, and the block's four words. The first three are the known answers that the
/// authors of Random123 publish; the others, also by their code, are addresses as long simulations have them.
struct PhiloxAnswer {
  std::uint64_t seed, path, block;
  std::uint32_t words[4];
};
constexpr PhiloxAnswer philox_answers[] = {
    {0, 0, 0, {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}},
    {~0ull, ~0ull, ~0ull, {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}},
    {0x299f31d0a4093822u,
     0x0370734413198a2eu,
     0x85a308d3243f6a88u,
     {0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}},
    {0x123456789abcdef0u, 0xffffffffffu, 0x400000100000005u, {0x8dbd250au, 0x3df7d77fu, 0x83219876u, 0xf36daaa5u}},
    {0x1u, 0x100000000u, 0xffffffffu, {0x1339a75bu, 0x6c003261u, 0xb6e79ac5u, 0xfad8d170u}},
    {0x7fffffffffffffffu, 0x5u, 0x3ffffffffffffffeu, {0xffb27572u, 0x68e52bd7u, 0x41c730f2u, 0x2a6895ffu}},
};

std::string words_text(const std::uint32_t* w) {
  return fmt::format("{:08x} {:08x} {:08x} {:08x}", w[0], w[1], w[2], w[3]);
}

std::string address_text(std::uint64_t seed, std::uint64_t path, std::uint64_t block) {
  return fmt::format("seed {:#x}, path {:#x}, block {:#x}", seed, path, block);
}

/// Pseudo-random addresses: small numbers and numbers with all their bits.
struct Addresses {
  std::vector<std::uint64_t> path, block;
};
Addresses some_addresses(std::uint64_t seed, int count, int block_bits) {
  Addresses some;
  Mixer mixer(seed);
  for (int i = 0; i < count; ++i) {
    some.path.push_back(mixer.next() >> (i % 3 * 24));
    some.block.push_back(mixer.next() >> (64 - block_bits + i % 5 * 9));
  }
  return some;
}

constexpr std::uint64_t random_seeds[] = {1, 0x123456789abcdef0u, 0x7fffffffffffffffu};

/// random_words counts words, four to a block: it reaches the blocks below this.
constexpr std::uint64_t word_blocks = std::uint64_t(1) << 62;

// ------------------------------------------------------------------------------------------- elementary functions

/// Where functions change branch, reduce to another octant, overflow or underflow.
// clang-format off
constexpr double edges[] = {
    0.25, 1.0 / 3.0, 0.34657359, 0.5, 2.0 / 3.0, 0.70710678118654752, 0.78539816, 1.0, 1.25, 4.0 / 3.0,
    1.4142135623730951, 1.5, 1.5707963267948966, 2.0, 2.5, 3.0, 3.1415926535897931, 4.0, 6.2831853071795862, 10.0,
    17.3, 40.0, 88.72, 88.73, 89.0, 89.5, 89.6, 103.28, 103.97, 104.0, 105.0, 709.78, 709.79, 710.0, 710.475, 710.6,
    745.13, 745.14, 746.0, 1048575.75, 8191.5, 2097152.0, 16777216.0, 562949953421312.0, 9007199254740992.0, 1e10,
    1e30,
};
// clang-format on

/// Reals next to these and to each change of exponent (double: each seventh), of both signs; denormals, infinities,
/// NaNs.
template <class R>
void add_edges(std::vector<R>& x) {
  constexpr bool single = sizeof(R) == 4;
  using Bits = BitsOf<R>;
  constexpr int mantissa = single ? 23 : 52, exponents = single ? 255 : 2047, stride = single ? 1 : 7;
  std::vector<Bits> magnitudes = {0, 1, 2, 3, (Bits(1) << mantissa) - 1};
  for (int i = 0; i < mantissa; i += stride) magnitudes.push_back(Bits(1) << i);
  for (int e = 1; e <= exponents; e += stride) magnitudes.push_back(static_cast<Bits>(e) << mantissa);
  magnitudes.push_back(static_cast<Bits>(exponents) << mantissa);  // infinity; its neighbours: the largest, a NaN
  for (const double edge : edges) magnitudes.push_back(static_cast<Bits>(as_bits(static_cast<R>(edge))));
  for (const Bits m : magnitudes) {
    for (const Bits near : {m == 0 ? m : static_cast<Bits>(m - 1), m, static_cast<Bits>(m + 1)}) {
      x.push_back(from_bits<R>(near));
      x.push_back(from_bits<R>(static_cast<Bits>(near | (Bits(1) << (8 * sizeof(R) - 1)))));
    }
  }
}

template <class R>
R real_of(std::uint64_t word, int exponent_from, int exponents) {
  using Bits = BitsOf<R>;
  constexpr int mantissa = sizeof(R) == 4 ? 23 : 52;
  const auto exponent = static_cast<Bits>(static_cast<std::uint64_t>(exponent_from) +
                                          (word >> 54) % static_cast<std::uint64_t>(exponents));
  const Bits sign = static_cast<Bits>(word >> 53 & 1) << (8 * sizeof(R) - 1);
  return from_bits<R>(static_cast<Bits>(sign | exponent << mantissa | (word & ((std::uint64_t(1) << mantissa) - 1))));
}

/// Checksums of the functions' answers, by name: the same in every right build. tests/test_verify.cpp prints the lines
/// as they should be after a change that is meant.
struct KnownChecksums {
  const char* name;
  std::uint64_t single, wide;
};
constexpr KnownChecksums known_checksums[] = {
    // clang-format off
    {"x / 2", 0x3279ff18151d455du, 0x93f2efb8c543674cu},
    {"x * 3 + 1, rounded twice", 0x2f84fd5dfd4cc62fu, 0x301cfee8e062270au},
    {"fma(x, 3, 1)", 0xa66032b3b19c89d6u, 0x46a510672f5e9447u},
    {"sqrt", 0x89276161afbbbf1fu, 0xead3bfa7c8c0e460u},
    {"1 / x", 0x743d6c989e95f654u, 0x0998c1a458d5c52du},
    {"x / 3", 0xd4b123a32ca670d7u, 0xc4d957c22643525eu},
    {"x as a float", 0x27495019ce2918f4u, 0xe74e97c396571540u},
    {"histogram bin", 0x6a1cd5afc9766b9au, 0xd13496883f65b2b1u},
    {"log", 0x84ab0707dc41b29bu, 0x2b1f7b2d14680577u},
    {"log_normal", 0xa2c2e408bbba0166u, 0xcda898d464812c1au},
    {"log1p", 0x3afd27ce8c933ffeu, 0x9375cd27df17fb20u},
    {"exp", 0x25dfcccad48b40bbu, 0x640ee6db3ea7b1bdu},
    {"expm1", 0x5141cc5791187542u, 0x913c2831103d1877u},
    {"sinh", 0xba31df43299c2773u, 0xac94a374d9a6006cu},
    {"cosh", 0x9bc11fb168c8e8cau, 0xe82a36609ec2892au},
    {"sin", 0xf909dc23f2f6a9fbu, 0x984887bf592fbc6au},
    {"cos", 0xdb524bd31e1e28e2u, 0x32d2fe6e0914db8bu},
    {"sin_pi", 0xcc1b5f8d512b92fdu, 0x858a4ad9be0a3e59u},
    {"cos_pi", 0xc4f82f4a3726140au, 0x5f6066e9e5a4a4c1u},
    {"x^-0.5", 0x7d7b65ddf709f8a1u, 0x034cec7ff86266ecu},
    {"x^-0.6", 0x61b8de0d917efcb1u, 0x866412629040a140u},
    {"x^-1", 0xbe97805f0aff0dacu, 0x281ebcccc8cfb2e2u},
    {"x^0.25", 0x2c3b0f12355fb8c3u, 0xc4450baca0889443u},
    {"x^3", 0xfa8c7bae99779a90u, 0x482fe16183d2872bu},
    {"step size", 0xf355f4eeb7974033u, 0x578fe9942afff6f7u},
    {"uniform", 0xbaf753c2ad282ebau, 0x805bdc3e222102c6u},
    {"normal radius", 0x6df863f0864f9c0eu, 0x983818e4abfa12a7u},
    {"sin of sincos_turn", 0x6492ed46f4b67084u, 0x8c05c1ef01bf8e67u},
    {"cos of sincos_turn", 0xf9ab35511c865b7au, 0xaeaebce111274a36u},
    {"sin_turn", 0xb64f99ced0339cfdu, 0x3a9de702a9eb5472u},
    {"cos_turn", 0x3c1847bb216585b5u, 0xfa4d3d3daf60b92fu},
    {"normal, even", 0x439def82c085cd56u, 0x4738878109dbc5fbu},
    {"normal, odd", 0xfcd987887cca46f6u, 0x7147f3a7afc8a63du},
    {"student_t, nu = 1", 0x1c6b3b3c88c3efb9u, 0x5bcd9a1fdd156f5au},
    {"student_t, nu = 2", 0xe2aa6294391a8a88u, 0x577e3888fb254c29u},
    {"student_t, nu = 5", 0xb69d6c8eec4b9f5au, 0x1aae455fa08747cdu},
    {"student_t, nu = 0.6", 0xb6164d315c32bedcu, 0x987c8937bb0d2bcdu},
    {"student_t, nu = 0.5", 0x45ce6bc48cbab4e9u, 0xaa8e8e3b3758122du},
    {"student_t, nu = 0.3", 0x351dc899d5ad0b56u, 0xb73e3f0bc2786dbau},
    {"multivariate_t, cosine", 0x67540cde076e45c8u, 0x0e50ff1329a320ebu},
    {"multivariate_t, sine", 0xd947fa242a5c8cbbu, 0x1bc04fca4dde2463u},
    {"multivariate_t, scale of the next pair", 0x6d29a3da0257ea15u, 0x650fbc1637e94d05u},
    {"laplace", 0x0f5b9e63deb31589u, 0x66d44cc67c25baaeu},
    {"logistic", 0x72eaebd576dececcu, 0xa445b6320bc6a5c7u},
    {"contaminated_gaussian, eps = 0.3, k = 3", 0xcfd4a0540135b1ecu, 0x2c1403cdb0b18fe0u},
    {"alpha_stable, alpha = 1", 0x347031e4ffb554ddu, 0x25989acac1a9761du},
    {"alpha_stable, alpha = 2", 0xaca0879cc57bfdd5u, 0xcdac51ca15c79fd3u},
    {"alpha_stable, alpha = 1.5", 0x638c64a33ee954b9u, 0xae1f43fe662b01fau},
    {"alpha_stable, alpha = 0.7", 0x660095acfa9d4ac8u, 0x6e0244255536993cu},
    {"alpha_stable, alpha = 0.3", 0x160d645c7d7b495bu, 0x3d0fe4c47dea0e09u},
    // clang-format on
};

/// The one row about all elementary functions in one precision: asks `values` and says what differs first.
template <class R, class Values>
std::string compare_functions(Values&& values, const char* who, std::size_t& asked) {
  std::string first;
  int wrong = 0;
  for (int f = 0; f < function_count; ++f) {
    const std::vector<R> x = function_inputs<R>(f), expected = function_answers<R>(f, x), got = values(f, x);
    asked += x.size();
    std::size_t i = 0;
    while (i < x.size() && i < got.size() && bits_of(got[i]) == bits_of(expected[i])) ++i;
    if (i == x.size()) continue;
    ++wrong;
    if (!first.empty()) continue;
    first = i >= got.size() ? fmt::format("{}: {} values instead of {}", function_table[f].name, got.size(), x.size())
                            : fmt::format("{} at {}: {} on {}, {} on the cpu", function_table[f].name, exactly(x[i]),
                                          exactly(got[i]), who, exactly(expected[i]));
  }
  return wrong > 1 ? fmt::format("{} (and {} more functions differ)", first, wrong - 1) : first;
}

// ------------------------------------------------------------------------------------------- experiments

std::string text_of(const std::string& top, const std::string& objective, const std::string& noise,
                    const std::string& workers, const std::string& curve, const std::string& bounds) {
  return "precision = \"double\"\n" + top + "\n[objective]\n" + objective + "\n[noise]\n" + noise + "\n[workers]\n" +
         workers + "\n[[curve]]\nname = \"c\"\n" + curve + "\n" + bounds;
}

std::string bound(const std::string& theorem) { return "[[bound]]\ntheorem = \"" + theorem + "\"\ncurve = \"c\"\n"; }

/// What compares two ways of computing one curve needs, ready for both precisions.
struct Case {
  explicit Case(const VerifyExperiment& from)
      : name(from.name),
        experiment(parse_experiment(from.text, "verify: " + from.name)),
        objective(experiment.objective),
        single(experiment, experiment.curves.back(), objective),
        wide(experiment, experiment.curves.back(), objective) {}
  Case(const Case&) = delete;
  Case& operator=(const Case&) = delete;

  template <class R>
  const SimSpec<R>& spec() const {
    if constexpr (sizeof(R) == 4) {
      return single.spec;
    } else {
      return wide.spec;
    }
  }
  /// Of the scalar code with one thread.
  template <class R>
  SimResult& reference() {
    return sizeof(R) == 4 ? single_reference : wide_reference;
  }

  std::string name;
  Experiment experiment;
  Objective objective;
  CurveSpec<float> single;
  CurveSpec<double> wide;
  SimResult single_reference, wide_reference;
};

constexpr int tiles[] = {1, 2, 4, 8, 16, 32};

/// Experiments of every combination that could have a kernel of its own: whatever kernels the fixed experiments leave
/// out are looked for here. Calls use(experiment, curve, objective, track_gradient) until it returns false.
template <class Use>
void each_combination(Use&& use) {
  struct Shape {
    int dim, workers, paths, steps;
  };
  const auto list = [](int dim) {
    std::string text;
    for (int j = 0; j < dim; ++j) text += (j ? ", " : "") + std::string(j % 3 == 0 ? "-0.5" : "0.75");
    return text;
  };
  for (const Shape& shape : {Shape{1, 1, 70, 40}, Shape{5, 2, 70, 20}, Shape{100, 2, 33, 6}, Shape{600, 1, 33, 3}}) {
    const std::string dim = "\ndim = " + std::to_string(shape.dim) + "\nstart = 0.4\n";
    const std::string top = fmt::format("paths = {}\nsteps = {}", shape.paths, shape.steps);
    for (const std::string& objective :
         {"kind = \"quadratic\"\nspectrum = { kind = \"linear\", min = 0.1, max = 1.3 }" + dim,
          "kind = \"quartic\"" + dim, "kind = \"cosh\"" + dim, "kind = \"sine_pl\"" + dim,
          "kind = \"least_squares\"\nrows = 7" + dim, "kind = \"logistic\"\nrows = 7\nlam = 0.1" + dim,
          "kind = \"saddle\"\nlam = 0.8\neigenvalues = [" + list(shape.dim) + "]" + dim}) {
      const Experiment experiment =
          parse_experiment(text_of(top, objective, "scale = 0.3", "count = " + std::to_string(shape.workers),
                                   "method = \"dsgd\"\neta = 0.05", ""),
                           "verify");
      const Objective made(experiment.objective);
      for (const LawSpec& law :
           {LawSpec{LawKind::gaussian}, LawSpec{LawKind::student_t, 1.0}, LawSpec{LawKind::student_t, 2.0},
            LawSpec{LawKind::student_t, 5.0}, LawSpec{LawKind::student_t, 0.5}, LawSpec{LawKind::multivariate_t, 3.0},
            LawSpec{LawKind::laplace}, LawSpec{LawKind::alpha_stable, 0.0, 1.7}}) {
        for (const bool sign : {false, true}) {
          for (const CompressorKind compressor :
               {CompressorKind::identity, CompressorKind::rand_k, CompressorKind::bernoulli}) {
            if (sign && compressor != CompressorKind::identity) continue;
            for (const bool affine : {false, true}) {
              for (const int form : {0, 1, 2, 3}) {
                const bool track = (form & 1) != 0, direct = (form & 2) != 0;
                if (direct && shape.workers == 1) continue;
                CurveConfig curve = experiment.curves.back();
                if (direct) curve.sampling = "direct";
                curve.noise.law = law;
                curve.noise.affine = affine ? 0.5 : 0.0;
                curve.method = sign                                     ? MethodKind::dsignsgd
                               : compressor == CompressorKind::identity ? MethodKind::dsgd
                                                                        : MethodKind::dcsgd;
                curve.compressor.kind = compressor;
                curve.compressor.p = 0.4;
                curve.compressor.k = (shape.dim + 2) / 3;
                if (compressor == CompressorKind::rand_k)
                  curve.workers.k.assign(static_cast<std::size_t>(shape.workers), curve.compressor.k);
                if (!use(experiment, curve, made, track)) return;
              }
            }
          }
        }
      }
    }
  }
}

// ------------------------------------------------------------------------------------------- the rows

class Verification {
 public:
  Verification(const VerifyOptions& options, const VerifiedBackend& backend,
               const std::function<void(const VerifyRow&)>& progress)
      : options_(options), backend_(backend), progress_(progress) {}

  VerifyReport run() {
    find_devices();
    row("random words on the cpu", [&] { return words_on_cpu(); });
    row("functions on the cpu, float", [&] { return functions_on_cpu<float>(); });
    row("functions on the cpu, double", [&] { return functions_on_cpu<double>(); });
    for (const VerifyExperiment& experiment : verify_experiments())
      row(experiment.name + " on the cpu", [&] { return experiment_on_cpu(experiment); });
    for (const DeviceInfo& device : devices_) device_rows(device);
    if (devices_.size() > 1) row("all devices together", [&] { return devices_together(); });
    finish();
    return std::move(report_);
  }

 private:
  struct Outcome {
    bool passed;
    std::string detail;
  };
  static Outcome passed(std::string detail) { return {true, std::move(detail)}; }
  static Outcome failed(std::string detail) { return {false, std::move(detail)}; }

  /// A check that cannot even be made has failed; what stops the program is passed on.
  template <class Check>
  void row(const std::string& name, Check&& check) {
    look_at_stop();
    Outcome outcome;
    try {
      outcome = check();
    } catch (const std::exception& e) {
      outcome = failed(e.what());
    }
    report_.rows.push_back({name, outcome.detail, outcome.passed});
    if (progress_) progress_(report_.rows.back());
  }

  void look_at_stop() const {
    if (options_.stop != nullptr && options_.stop->load()) throw Interrupted();
  }

  void find_devices() {
    const std::string isa = name_of(best_isa());
    const int threads = thread_count(options_.threads);
    report_.header.push_back(fmt::format("pathbound {} ({})", version(), commit()));
    std::vector<std::string> isas;
    for (const Isa i : available_isas()) isas.emplace_back(name_of(i));
    report_.header.push_back(fmt::format("cpu: {}, {} threads", joined(isas, ", "), threads));
    who_ = fmt::format("pathbound {} ({}) {} {} threads", version(), commit(), isa, threads);
    if (!options_.cuda) {
      if (!options_.why_not_cuda.empty()) {
        report_.header.push_back("cuda: NOT verified: " + options_.why_not_cuda);
        who_ += "; cuda not verified (" + options_.why_not_cuda + ")";
      }
      return;
    }
    const std::string versions = backend_.versions();
    report_.header.push_back("cuda: " + versions);
    who_ += "; cuda " + versions;
    std::string why;
    const std::vector<DeviceInfo> all = backend_.devices(why);
    if (all.empty()) row("devices", [&] { return failed("no device: " + why); });
    for (const DeviceInfo& device : all) {
      const auto& wanted = options_.devices;
      if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), device.id) == wanted.end()) continue;
      devices_.push_back(device);
      const double gb = static_cast<double>(device.memory) / 1e9;
      report_.header.push_back(fmt::format("device {}: {}, compute capability {}.{}, {} multiprocessors, {:.0f} GB",
                                           device.id, device.name, device.major, device.minor, device.multiprocessors,
                                           gb));
      who_ += fmt::format("; {}: {} sm_{}{} {:.0f} GB", device.id, device.name, device.major, device.minor, gb);
    }
    for (const int id : options_.devices)
      if (std::none_of(all.begin(), all.end(), [&](const DeviceInfo& device) { return device.id == id; }))
        row(device_name(id), [&] { return failed("there is no such device, or this build cannot use it"); });
  }

  static std::string device_name(int id) { return "device " + std::to_string(id); }

  // ---- cpu
  Outcome words_on_cpu() const {
    int blocks = 0;
    const auto differs = [&](std::uint64_t seed, std::uint64_t path, std::uint64_t block, const std::uint32_t* expected,
                             const std::uint32_t* got) {
      ++blocks;
      if (std::equal(got, got + 4, expected)) return std::string();
      return fmt::format("{}: {} instead of {}", address_text(seed, path, block), words_text(got),
                         words_text(expected));
    };
    std::string difference;
    for (const PhiloxAnswer& a : philox_answers) {
      std::uint32_t words[4];
      philox_block(a.seed, a.path, a.block, words);
      if (!(difference = differs(a.seed, a.path, a.block, a.words, words)).empty()) return failed(difference);
      if (a.block >= word_blocks) continue;
      random_words(a.seed, a.path, 4 * a.block, 4, words);
      if (!(difference = differs(a.seed, a.path, a.block, a.words, words)).empty()) return failed(difference);
    }
    for (const std::uint64_t seed : random_seeds) {
      const Addresses some = some_addresses(seed, 500, 62);
      for (std::size_t i = 0; i < some.path.size(); ++i) {
        std::uint32_t expected[4], words[4];
        philox_block(seed, some.path[i], some.block[i], expected);
        random_words(seed, some.path[i], 4 * some.block[i], 4, words);
        if (!(difference = differs(seed, some.path[i], some.block[i], expected, words)).empty())
          return failed(difference);
      }
    }
    return passed(fmt::format("{} blocks, {} known answers", blocks, std::size(philox_answers)));
  }

  template <class R>
  Outcome functions_on_cpu() const {
    std::string first;
    int wrong = 0;
    std::size_t asked = 0;
    for (int f = 0; f < function_count; ++f) {
      look_at_stop();
      const std::vector<R> x = function_inputs<R>(f);
      asked += x.size();
      const std::uint64_t got = checksum_of(function_answers<R>(f, x)), known = known_checksum<R>(f);
      if (got == known && known != 0) continue;
      if (wrong++ == 0)
        first = fmt::format("{}: checksum {:#018x} instead of {:#018x}", function_table[f].name, got, known);
    }
    if (wrong == 0) return passed(fmt::format("{} functions, {} known answers", function_count, asked));
    return failed(wrong > 1 ? fmt::format("{} (and {} more functions differ)", first, wrong - 1) : first);
  }

  Outcome experiment_on_cpu(const VerifyExperiment& experiment) {
    cases_.push_back(std::make_unique<Case>(experiment));
    Case& c = *cases_.back();
    std::string difference = on_cpu<float>(c);
    if (difference.empty()) difference = on_cpu<double>(c);
    if (!difference.empty()) return failed(difference);
    return passed(fmt::format("d = {}, {} paths, {} steps", c.experiment.objective.dim,
                              c.experiment.curves.back().paths, c.experiment.curves.back().steps));
  }

  template <class R>
  SimResult simulate_on_cpu(const SimSpec<R>& spec, Isa isa, int threads) const {
    look_at_stop();
    SimOptions options;
    options.isa = isa;
    options.threads = threads;
    options.stop = options_.stop;
    return simulate_cpu<R>(spec, options);
  }

  template <class R>
  std::string on_cpu(Case& c) const {
    const SimSpec<R>& spec = c.spec<R>();
    SimResult& reference = c.reference<R>();
    reference = simulate_on_cpu<R>(spec, Isa::scalar, 1);
    std::set<int> thread_counts = {1, 3};
    if (options_.threads > 0) thread_counts.insert(options_.threads);
    for (const Isa isa : available_isas()) {
      for (const int threads : thread_counts) {
        if (isa == Isa::scalar && threads == 1) continue;
        const std::string difference = compare_results(simulate_on_cpu<R>(spec, isa, threads), reference);
        if (!difference.empty())
          return fmt::format("{}, {} with {} threads against scalar with 1: {}", precision_name<R>(), name_of(isa),
                             threads, difference);
      }
    }
    return "";
  }

  // ---- devices
  void device_rows(const DeviceInfo& device) {
    const std::string on = " on " + device_name(device.id);
    row("random words" + on, [&] { return words_on_device(device); });
    row("functions" + on + ", float", [&] { return functions_on_device<float>(device); });
    row("functions" + on + ", double", [&] { return functions_on_device<double>(device); });
    std::set<std::string> covered;
    for (const std::unique_ptr<Case>& c : cases_) {
      row(c->name + on, [&] {
        std::set<std::string> kernels;
        std::string difference = on_device<float>(*c, device, kernels);
        if (difference.empty()) difference = on_device<double>(*c, device, kernels);
        covered.insert(kernels.begin(), kernels.end());
        if (!difference.empty()) return failed(difference);
        return passed(joined({kernels.begin(), kernels.end()}, ", "));
      });
    }
    row("every kernel" + on, [&] { return every_kernel(device, covered); });
  }

  Outcome words_on_device(const DeviceInfo& device) const {
    int blocks = 0;
    for (const PhiloxAnswer& a : philox_answers) {
      const std::vector<std::uint32_t> got = backend_.random_words(device.id, a.seed, {a.path}, {a.block});
      if (got.size() != 4 || !std::equal(got.begin(), got.end(), a.words))
        return failed(fmt::format("{}: {} instead of {}", address_text(a.seed, a.path, a.block),
                                  got.size() == 4 ? words_text(got.data()) : "nothing", words_text(a.words)));
      ++blocks;
    }
    for (const std::uint64_t seed : random_seeds) {
      look_at_stop();
      const Addresses some = some_addresses(seed, 2000, 64);
      const std::vector<std::uint32_t> got = backend_.random_words(device.id, seed, some.path, some.block);
      for (std::size_t i = 0; i < some.path.size(); ++i) {
        std::uint32_t expected[4];
        philox_block(seed, some.path[i], some.block[i], expected);
        if (4 * i + 4 > got.size() || !std::equal(expected, expected + 4, got.data() + 4 * i))
          return failed(fmt::format("{}: {} instead of {}", address_text(seed, some.path[i], some.block[i]),
                                    4 * i + 4 > got.size() ? "nothing" : words_text(got.data() + 4 * i),
                                    words_text(expected)));
        ++blocks;
      }
    }
    return passed(fmt::format("{} blocks by cuRAND, {} known answers", blocks, std::size(philox_answers)));
  }

  template <class R>
  Outcome functions_on_device(const DeviceInfo& device) const {
    std::size_t asked = 0;
    const std::string difference = compare_functions<R>(
        [&](int function, const std::vector<R>& x) {
          look_at_stop();
          return backend_.function_values(device.id, function, x);
        },
        "the device", asked);
    if (!difference.empty()) return failed(difference);
    if constexpr (sizeof(R) == 4) {
      std::vector<float> x;
      for (int exponent = -24; exponent <= 4; exponent += 2)
        for (const float significand : least_safe_roots) x.push_back(std::ldexp(significand, exponent));
      const std::vector<float> roots = backend_.function_values(device.id, static_cast<int>(Function::root), x);
      for (std::size_t i = 0; i < x.size(); ++i)
        if (i >= roots.size() || roots[i] != sqrt(x[i]))
          return failed(fmt::format("sqrt at {}: the estimate of 1/sqrt is not good enough", exactly(x[i])));
      asked += x.size();
    }
    return passed(fmt::format("{} functions, {} values", function_count, asked));
  }

  CudaOptions cuda_options(std::vector<int> devices, int tile) const {
    CudaOptions options;
    options.devices = std::move(devices);
    options.tile = tile;
    options.stop = options_.stop;
    return options;
  }
  static CudaOptions cut_up(CudaOptions options) {
    options.launch_steps = 7;
    options.wave_blocks = 2;
    options.segment_records = 3;
    return options;
  }

  /// Empty when the device gives the reference's bits; adds the kernel that gave them to `kernels`.
  template <class R>
  std::string on_device_once(const SimSpec<R>& spec, const SimResult& reference, const DeviceInfo& device,
                             const CudaOptions& options, const char* how, std::set<std::string>& kernels) const {
    look_at_stop();
    const CudaPlan plan = backend_.plan(spec, options, device);
    const auto where = [&] {
      return fmt::format("{}, tile {}{}, kernel {}: ", precision_name<R>(), plan.tile, how, plan.kernel);
    };
    std::string difference;
    try {
      difference = compare_results(backend_.simulate(spec, options), reference);
    } catch (const std::exception& e) {
      return where() + e.what();
    }
    if (!difference.empty()) return where() + difference + " (device, cpu)";
    kernels.insert(plan.kernel);
    return "";
  }

  template <class R>
  std::string on_device(Case& c, const DeviceInfo& device, std::set<std::string>& kernels) const {
    for (const int tile : tiles) {
      const std::string difference =
          on_device_once<R>(c.spec<R>(), c.reference<R>(), device, cuda_options({device.id}, tile), "", kernels);
      if (!difference.empty()) return difference;
    }
    return on_device_once<R>(c.spec<R>(), c.reference<R>(), device, cut_up(cuda_options({device.id}, 0)),
                             " in short launches", kernels);
  }

  Outcome devices_together() {
    std::vector<int> ids;
    for (const DeviceInfo& device : devices_) ids.push_back(device.id);
    for (const std::unique_ptr<Case>& c : cases_) {
      std::string difference = together<float>(*c, ids);
      if (difference.empty()) difference = together<double>(*c, ids);
      if (!difference.empty()) return failed(c->name + ", " + difference);
    }
    return passed(fmt::format("{} devices, {} experiments", ids.size(), cases_.size()));
  }
  template <class R>
  std::string together(Case& c, const std::vector<int>& ids) const {
    for (const bool cut : {false, true}) {
      look_at_stop();
      const CudaOptions options = cuda_options(ids, 0);
      const std::string difference =
          compare_results(backend_.simulate(c.spec<R>(), cut ? cut_up(options) : options), c.reference<R>());
      if (!difference.empty())
        return fmt::format("{}{}: {} (devices, cpu)", precision_name<R>(), cut ? " in short launches" : "", difference);
    }
    return "";
  }

  /// Kernels that the experiments above did not reach are looked for among all combinations.
  Outcome every_kernel(const DeviceInfo& device, std::set<std::string> covered) const {
    std::set<std::string> missing;
    const std::vector<std::string> names = backend_.kernel_names();
    for (const std::string& name : names)
      if (covered.count(name) == 0) missing.insert(name);
    std::string difference;
    int further = 0;
    const auto reach = [&](const auto& spec) {
      using R = std::remove_const_t<std::remove_pointer_t<decltype(spec.start)>>;
      for (const int tile : tiles) {
        const CudaOptions options = cuda_options({device.id}, tile);
        if (missing.count(backend_.plan(spec, options, device).kernel) == 0) continue;
        std::set<std::string> kernels;
        difference = on_device_once<R>(spec, simulate_on_cpu<R>(spec, best_isa(), 1), device, options, "", kernels);
        if (!difference.empty()) return;
        ++further;
        for (const std::string& kernel : kernels) missing.erase(kernel);
      }
    };
    if (!missing.empty())
      each_combination(
          [&](const Experiment& experiment, const CurveConfig& curve, const Objective& objective, bool track) {
            look_at_stop();
            CurveSpec<float> single(experiment, curve, objective);
            CurveSpec<double> wide(experiment, curve, objective);
            single.spec.track_gradient = wide.spec.track_gradient = track;
            reach(single.spec);
            if (difference.empty()) reach(wide.spec);
            return difference.empty() && !missing.empty();
          });
    if (!difference.empty()) return failed(difference);
    if (!missing.empty())
      return failed(fmt::format("not reached by any experiment: {}", joined({missing.begin(), missing.end()}, ", ")));
    return passed(fmt::format("{} kernels{}", names.size(),
                              further > 0 ? fmt::format(", {} by further experiments", further) : ""));
  }

  void finish() {
    report_.passed = true;
    std::size_t good = 0;
    const VerifyRow* first = nullptr;
    for (const VerifyRow& r : report_.rows) {
      if (r.passed) {
        ++good;
      } else if (first == nullptr) {
        first = &r;
      }
    }
    report_.passed = first == nullptr;
    report_.bug_report_line = fmt::format("{}; verify: {} of {} passed", who_, good, report_.rows.size());
    if (first != nullptr)
      report_.bug_report_line += fmt::format("; first failure: {}: {}", first->check, first->detail);
    std::replace(report_.bug_report_line.begin(), report_.bug_report_line.end(), '\n', ' ');
  }

  const VerifyOptions& options_;
  const VerifiedBackend& backend_;
  const std::function<void(const VerifyRow&)>& progress_;
  VerifyReport report_;
  std::string who_;
  std::vector<DeviceInfo> devices_;
  std::vector<std::unique_ptr<Case>> cases_;
};

}  // namespace

// ------------------------------------------------------------------------------------------- the parts

template <class R>
std::vector<R> function_inputs(int function) {
  constexpr bool single = sizeof(R) == 4;
  using Bits = BitsOf<R>;
  constexpr int width = 8 * static_cast<int>(sizeof(R)), exponents = single ? 255 : 2047;
  constexpr int random_count = 20000;
  std::vector<R> x;
  Mixer mixer(12345);
  switch (function_table[function].domain) {
    case Domain::real:
      add_edges(x);
      // Half of them of any size, half of the sizes that paths have.
      for (int i = 0; i < random_count / 2; ++i) x.push_back(real_of<R>(mixer.next(), 0, exponents + 1));
      for (int i = 0; i < random_count / 2; ++i) x.push_back(real_of<R>(mixer.next(), exponents / 2 - 24, 34));
      break;
    case Domain::positive_normal: {
      std::vector<R> candidates;
      add_edges(candidates);
      const Bits least = Bits(1) << (single ? 23 : 52), infinite = static_cast<Bits>(exponents) << (single ? 23 : 52);
      for (const R edge : candidates)
        if (as_bits(edge) >= least && as_bits(edge) < infinite) x.push_back(edge);
      for (int i = 0; i < random_count / 2; ++i) x.push_back(abs(real_of<R>(mixer.next(), 1, exponents - 1)));
      for (int i = 0; i < random_count / 2; ++i) x.push_back(abs(real_of<R>(mixer.next(), exponents / 2 - 24, 26)));
      break;
    }
    case Domain::steps:
      for (std::uint64_t k = 0; k < 1000; ++k) x.push_back(static_cast<R>(k));
      for (int i = 10; i <= 40; ++i)
        for (const std::uint64_t k : {(std::uint64_t(1) << i) - 1, std::uint64_t(1) << i, (std::uint64_t(1) << i) + 1})
          x.push_back(static_cast<R>(k));
      for (int i = 0; i < random_count; ++i) x.push_back(static_cast<R>(mixer.next() >> (24 + i % 30)));
      break;
    case Domain::words:
      for (int i = 0; i < width; ++i) {
        const Bits bit = Bits(1) << i;
        for (const Bits word :
             {bit, static_cast<Bits>(bit - 1), static_cast<Bits>(~bit), static_cast<Bits>(Bits(0) - bit)})
          x.push_back(from_bits<R>(word));
      }
      for (Bits eighth = 0; eighth < 8; ++eighth)  // of a turn
        for (const Bits next : {Bits(0), Bits(1), static_cast<Bits>(Bits(1) << 11)}) {
          x.push_back(from_bits<R>(static_cast<Bits>((eighth << (width - 3)) + next)));
          x.push_back(from_bits<R>(static_cast<Bits>((eighth << (width - 3)) - next)));
        }
      for (int i = 0; i < random_count; ++i) x.push_back(from_bits<R>(static_cast<Bits>(mixer.next())));
      break;
  }
  return x;
}
template std::vector<float> function_inputs<float>(int);
template std::vector<double> function_inputs<double>(int);

template <class R>
std::vector<R> function_answers(int function, const std::vector<R>& x) {
  std::vector<R> values(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) values[i] = function_value<R>(function, x[i]);
  return values;
}
template std::vector<float> function_answers<float>(int, const std::vector<float>&);
template std::vector<double> function_answers<double>(int, const std::vector<double>&);

template <class R>
std::uint64_t checksum_of(const std::vector<R>& values) {
  std::uint64_t sum = 0xcbf29ce484222325u;
  for (const R value : values) {
    const auto bits = as_bits(value);
    for (std::size_t byte = 0; byte < sizeof(R); ++byte) sum = (sum ^ ((bits >> (8 * byte)) & 0xff)) * 0x100000001b3u;
  }
  return sum;
}
template std::uint64_t checksum_of<float>(const std::vector<float>&);
template std::uint64_t checksum_of<double>(const std::vector<double>&);

template <class R>
std::uint64_t known_checksum(int function) {
  for (const KnownChecksums& known : known_checksums)
    if (std::strcmp(known.name, function_table[function].name) == 0) return sizeof(R) == 4 ? known.single : known.wide;
  return 0;
}
template std::uint64_t known_checksum<float>(int);
template std::uint64_t known_checksum<double>(int);

std::string compare_results(const SimResult& a, const SimResult& b) {
  if (a.records.size() != b.records.size()) return fmt::format("{} and {} records", a.records.size(), b.records.size());
  const auto differ = [](double x, double y) { return bits_of(x) != bits_of(y); };
  const auto both = [](double x, double y) { return exactly(x) + " and " + exactly(y); };
  struct Field {
    const char* name;
    double Record::*value;
  };
  static constexpr Field fields[] = {{"sum", &Record::sum},
                                     {"m2", &Record::m2},
                                     {"m3", &Record::m3},
                                     {"min", &Record::min},
                                     {"max", &Record::max},
                                     {"grad_norm_sum", &Record::grad_norm_sum},
                                     {"max_grad", &Record::max_grad},
                                     {"max_grad_so_far", &Record::max_grad_so_far},
                                     {"pl_min", &Record::pl_min},
                                     {"pl_max", &Record::pl_max},
                                     {"sum_y", &Record::sum_y},
                                     {"m2_y", &Record::m2_y},
                                     {"m3_y", &Record::m3_y},
                                     {"sum_t", &Record::sum_t},
                                     {"smoothness", &Record::smoothness}};
  static_assert(sizeof(Record) == sizeof(std::uint64_t) + std::size(fields) * sizeof(double),
                "a field is not compared");
  for (std::size_t c = 0; c < a.records.size(); ++c) {
    const Record &x = a.records[c], &y = b.records[c];
    if (x.finite != y.finite) return fmt::format("record {}, finite: {} and {}", c, x.finite, y.finite);
    for (const Field& field : fields)
      if (differ(x.*field.value, y.*field.value))
        return fmt::format("record {}, {}: {}", c, field.name, both(x.*field.value, y.*field.value));
  }
  for (std::size_t q = 0; q < a.quantiles.size(); ++q) {
    const auto &x = a.quantiles[q], &y = b.quantiles[q];
    if (x.size() != y.size()) return fmt::format("quantile {}: {} and {} records", q, x.size(), y.size());
    for (std::size_t c = 0; c < x.size(); ++c)
      if (differ(x[c], y[c])) return fmt::format("record {}, quantile {}: {}", c, curve_quantiles[q], both(x[c], y[c]));
  }
  if (a.group_means.size() != b.group_means.size())
    return fmt::format("group means: {} and {} records", a.group_means.size(), b.group_means.size());
  for (std::size_t c = 0; c < a.group_means.size(); ++c) {
    const auto &x = a.group_means[c], &y = b.group_means[c];
    if (x.size() != y.size()) return fmt::format("record {}: {} and {} groups", c, x.size(), y.size());
    for (std::size_t g = 0; g < x.size(); ++g)
      if (differ(x[g], y[g])) return fmt::format("record {}, mean of group {}: {}", c, g, both(x[g], y[g]));
  }
  return "";
}

std::vector<VerifyExperiment> verify_experiments() {
  std::vector<VerifyExperiment> all;
  const auto add = [&](const std::string& name, const std::string& top, const std::string& objective,
                       const std::string& noise, const std::string& workers, const std::string& curve,
                       const std::string& bounds = "") {
    all.push_back({name, text_of(top, objective, noise, workers, curve, bounds)});
  };
  const auto quadratic = [](int d) {
    return "kind = \"quadratic\"\ndim = " + std::to_string(d) +
           "\nspectrum = { kind = \"linear\", min = 0.1, max = 1.3 }";
  };
  const auto t = [](const char* nu) { return std::string("law = \"student_t\"\nnu = ") + nu; };
  const std::string multivariate = "law = \"multivariate_t\"\nnu = 3.0";
  const std::string dsgd = "method = \"dsgd\"\neta = 0.1", sign = "method = \"dsignsgd\"\neta = 0.05",
                    polynomial = "\nschedule = { kind = \"polynomial\", k0 = 3.0, p = 0.6 }";
  const auto rand_k = [](int k) {
    return "method = \"dcsgd\"\neta = 0.02\ncompressor = { kind = \"rand_k\", k = " + std::to_string(k) + " }";
  };
  const std::string bernoulli = "method = \"dcsgd\"\neta = 0.1\ncompressor = { kind = \"bernoulli\", p = 0.3 }";

  // One coordinate, one worker.
  add("quadratic d = 1, gaussian", "seed = 1099511627787\npaths = 257\nsteps = 60", quadratic(1), "", "", dsgd,
      bound("B3d"));
  add("quartic d = 1, t 1, sign", "paths = 250\nsteps = 41\ncheckpoints = 7", "kind = \"quartic\"", t("1.0"), "",
      sign + polynomial);
  add("quartic d = 1, gaussian", "paths = 100\nsteps = 60", "kind = \"quartic\"", "scale = 0.5", "", dsgd);
  add("cosh d = 1, gaussian", "paths = 33\nsteps = 300\ncheckpoint_steps = [1, 7, 255, 256, 257, 290]",
      "kind = \"cosh\"", "scale = 0.3", "", dsgd + polynomial);
  add("sine_pl d = 1, t 2, sign", "paths = 31\nsteps = 60", "kind = \"sine_pl\"", t("2.0"), "", sign);
  add("saddle d = 1, gaussian", "paths = 100\nsteps = 40", "kind = \"saddle\"\neigenvalues = [-1.0]\nlam = 1.0",
      "scale = 0.3", "", dsgd + polynomial);
  add("sine_pl d = 1, gaussian", "paths = 70\nsteps = 40", "kind = \"sine_pl\"", "", "", dsgd);
  add("cosh d = 1, t 5", "paths = 70\nsteps = 40", "kind = \"cosh\"", t("5.0") + "\nscale = 0.2", "", dsgd);
  add("saddle d = 1, t 0.6, sign", "paths = 70\nsteps = 40", "kind = \"saddle\"\neigenvalues = [-1.0]\nlam = 1.0",
      t("0.6"), "", sign);
  add("quadratic d = 1, t 0.5, sign", "paths = 300\nsteps = 30", quadratic(1), t("0.5"), "", sign);
  add("quadratic d = 1, t 5, tracked", "paths = 131\nsteps = 40\ncheckpoints = 6", quadratic(1), t("5.0"), "", sign,
      bound("B4Y") + bound("B4"));
  add("quadratic d = 1, multivariate_t", "paths = 100\nsteps = 30", quadratic(1), multivariate, "", dsgd);
  // Paths that diverge.
  add("diverging, d = 1", "paths = 300\nsteps = 40\nlimit = 100.0", quadratic(1), t("1.0"), "",
      "method = \"dsgd\"\neta = 0.5");
  add("diverging, d = 3", "paths = 200\nsteps = 20\nlimit = 1e6", "kind = \"quartic\"\ndim = 3", "scale = 3.0",
      "count = 2", "method = \"dsgd\"\neta = 0.2");
  // Few coordinates, several workers.
  add("quadratic d = 1, 3 workers", "paths = 257\nsteps = 20", quadratic(1), "", "count = 3", dsgd);
  add("quadratic d = 2, tracked sign", "paths = 131\nsteps = 40\ncheckpoints = 9", quadratic(2), t("1.0"), "count = 2",
      sign, bound("B4d"));
  add("quadratic d = 3, 32 workers", "paths = 70\nsteps = 20", quadratic(3), "", "count = 32", dsgd);
  add("quadratic d = 5, gaussian sign", "paths = 1\nsteps = 25", quadratic(5), "", "count = 5", sign + polynomial);
  add("quadratic d = 7, affine multivariate_t, bernoulli", "paths = 97\nsteps = 25", quadratic(7),
      multivariate + "\naffine = 0.5", "count = 3\nbatch = [1, 2, 3]", bernoulli, bound("B3p"));
  add("quadratic d = 8, affine t 5, scales", "paths = 95\nsteps = 25", quadratic(8), t("5.0") + "\naffine = 0.7",
      "count = 2\nscale = [0.5, 2.0]", dsgd + polynomial);
  add("quartic d = 3, t 0.5, sign", "paths = 97\nsteps = 20", "kind = \"quartic\"\ndim = 3", t("0.5"), "count = 2",
      sign);
  add("cosh d = 9, bernoulli", "paths = 97\nsteps = 20", "kind = \"cosh\"\ndim = 9\nstart = 0.5", "scale = 0.2",
      "count = 2", bernoulli);
  add("sine_pl d = 4, t 0.6, rand_k", "paths = 97\nsteps = 20", "kind = \"sine_pl\"\ndim = 4", t("0.6"), "", rand_k(2));
  add("saddle d = 3, gaussian", "paths = 97\nsteps = 20",
      "kind = \"saddle\"\ndim = 3\neigenvalues = [-1.0, 0.5, -2.0]\nlam = 0.8\nstart = [0.1, 1.0, -0.2]", "scale = 0.1",
      "", dsgd, bound("B3d"));
  // Masks of every length, kept and dropped sides.
  add("quadratic d = 31, rand_k 5", "paths = 100\nsteps = 20", quadratic(31), "", "count = 2", rand_k(5));
  add("quadratic d = 33, t 5, rand_k 30", "paths = 70\nsteps = 12", quadratic(33), t("5.0"), "count = 2", rand_k(30));
  add("quadratic d = 64, rand_k 16", "paths = 100\nsteps = 10", quadratic(64), "", "count = 3", rand_k(16));
  add("quadratic d = 64, t 2, sign", "paths = 100\nsteps = 10", quadratic(64), t("2.0"), "count = 3", sign);
  add("quadratic d = 65, rand_k 3", "paths = 65\nsteps = 10", quadratic(65), "", "count = 2", rand_k(3));
  add("quadratic d = 100, affine, bernoulli", "paths = 65\nsteps = 10", quadratic(100), "affine = 0.3", "count = 2",
      bernoulli);
  add("quadratic d = 130, multivariate_t, lists of k", "paths = 65\nsteps = 8", quadratic(130), multivariate,
      "count = 3\nk = [1, 100, 130]", rand_k(1));
  add("quadratic d = 129, multivariate_t, tracked", "paths = 65\nsteps = 8", quadratic(129), multivariate, "", sign,
      bound("B4Y"));
  add("cosh d = 200, gaussian", "paths = 65\nsteps = 8", "kind = \"cosh\"\ndim = 200\nstart = 0.5", "scale = 0.2", "",
      dsgd);
  add("quadratic d = 1000, gaussian", "paths = 33\nsteps = 5", quadratic(1000), "", "", dsgd);
  // Data.
  add("least_squares d = 9, rand_k", "paths = 97\nsteps = 20", "kind = \"least_squares\"\ndim = 9\nrows = 23\nrank = 5",
      "", "count = 2", rand_k(4), bound("B3"));
  add("least_squares d = 64, t 5", "paths = 65\nsteps = 8", "kind = \"least_squares\"\ndim = 64\nrows = 70", t("5.0"),
      "", dsgd);
  add("logistic d = 2, multivariate_t, sign", "paths = 257\nsteps = 20",
      "kind = \"logistic\"\ndim = 2\nrows = 5\nlam = 0.1", multivariate, "count = 2", sign, bound("B4d"));
  add("logistic d = 5, affine t 5, bernoulli", "paths = 97\nsteps = 20",
      "kind = \"logistic\"\ndim = 5\nrows = 19\nlam = 0.1", t("5.0") + "\naffine = 0.2", "count = 2", bernoulli);
  add("logistic d = 100, gaussian", "paths = 65\nsteps = 6", "kind = \"logistic\"\ndim = 100\nrows = 37\nlam = 0.1", "",
      "", dsgd + polynomial);
  // Whole vectors, states, adaptive factors; laws beyond Student's.
  const auto compressed = [](const std::string& compressor) {
    return "method = \"dcsgd\"\neta = 0.02\ncompressor = { " + compressor + " }";
  };
  const std::string cosh = "kind = \"cosh\"\ndim = 9\nstart = 1.5", dnsgd = "method = \"dnsgd\"\neta = 0.05";
  add("quadratic d = 1, laplace", "paths = 257\nsteps = 20", quadratic(1), "law = \"laplace\"", "", dsgd);
  add("quadratic d = 7, affine logistic, dnsgd", "paths = 97\nsteps = 20", quadratic(7),
      "law = \"logistic\"\naffine = 0.4", "count = 3\nbatch = [1, 2, 3]", dnsgd + polynomial);
  add("quadratic d = 9, contaminated, dnsgd of workers", "paths = 97\nsteps = 20", quadratic(9),
      "law = \"contaminated_gaussian\"\neps = 0.1\nk = 10.0", "count = 2", dnsgd + "\nat = \"worker\"");
  add("quadratic d = 33, alpha_stable 1.5, clipped", "paths = 70\nsteps = 12", quadratic(33),
      "law = \"alpha_stable\"\nalpha = 1.5", "count = 2", "method = \"clipped_dsgd\"\nclip = 3.0\neta = 0.05");
  add("quadratic d = 65, alpha_stable 0.5, sign", "paths = 65\nsteps = 10", quadratic(65),
      "law = \"alpha_stable\"\nalpha = 0.5", "", sign);
  add("quadratic d = 4, alpha_stable 1, sign", "paths = 97\nsteps = 12", quadratic(4),
      "law = \"alpha_stable\"\nalpha = 1.0", "count = 2", sign);
  add("quadratic d = 2, alpha_stable 2", "paths = 97\nsteps = 12", quadratic(2),
      "law = \"alpha_stable\"\nalpha = 2.0\nscale = 0.5", "count = 3", dsgd);
  add("cosh d = 9, heavy ball, cosine with warm-up", "paths = 97\nsteps = 20", cosh, "scale = 0.2", "count = 2",
      "method = \"heavy_ball\"\neta = 0.05\nschedule = { kind = \"cosine\", warmup = 4 }");
  add("logistic d = 5, t 5, adam", "paths = 97\nsteps = 20", "kind = \"logistic\"\ndim = 5\nrows = 19\nlam = 0.1",
      t("5.0"), "count = 2", "method = \"adam\"\neta = 0.02");
  add("quadratic d = 130, multivariate_t, adam", "paths = 65\nsteps = 8", quadratic(130), multivariate, "",
      "method = \"adam\"\neta = 0.02\nbeta1 = 0.5");
  add("quadratic d = 5, t 2, qsgd", "paths = 97\nsteps = 20", quadratic(5), t("2.0"), "count = 3",
      compressed("kind = \"qsgd\", s = 3"));
  add("least_squares d = 9, natural, hessian_norm", "paths = 97\nsteps = 20",
      "kind = \"least_squares\"\ndim = 9\nrows = 23\nrank = 5", "", "count = 2",
      compressed("kind = \"natural\"") + "\nadaptive = { kind = \"hessian_norm\" }");
  add("quadratic d = 66, top_k, lists of k", "paths = 65\nsteps = 12", quadratic(66), "", "count = 2\nk = [5, 66]",
      compressed("kind = \"top_k\""));
  add("quadratic d = 33, rand_k_plain, exponential", "paths = 65\nsteps = 12", quadratic(33), "", "count = 2",
      compressed("kind = \"rand_k_plain\", k = 5") + "\nschedule = { kind = \"exponential\", rate = 0.1 }");
  add("quartic d = 3, t 0.5, sign, step schedule", "paths = 97\nsteps = 20", "kind = \"quartic\"\ndim = 3", t("0.5"),
      "count = 2",
      sign +
          "\nadaptive = { kind = \"hessian_norm\", theta = 0.1 }\n"
          "schedule = { kind = \"step\", every = 3, factor = 0.5 }");
  add("cosh d = 9, bernoulli, l0l1", "paths = 97\nsteps = 20", cosh, "scale = 0.2\naffine = 0.1", "count = 2",
      bernoulli + "\nadaptive = { kind = \"l0l1\", theta = 0.7 }");
  add("quartic d = 3, stochastic gradient_norm", "paths = 97\nsteps = 20", "kind = \"quartic\"\ndim = 3\nstart = 2.0",
      "", "count = 2", dsgd + "\nadaptive = { kind = \"gradient_norm\", c = 0.5, q = 1.3, stochastic = true }");
  // Sums over the steps.
  add("cosh d = 9, l0l1, sums", "paths = 97\nsteps = 20\ncheckpoints = 7", cosh, "scale = 0.2", "count = 3",
      bernoulli + polynomial + "\nadaptive = { kind = \"l0l1\", theta = 1.9, L0 = 0.5, L1 = 1.0 }", bound("B5"));
  add("quadratic d = 1, sums", "paths = 257\nsteps = 20", quadratic(1), "", "", dsgd, bound("B5"));
  add("quadratic d = 130, sums", "paths = 65\nsteps = 8", quadratic(130), "affine = 0.2", "count = 2", dsgd,
      bound("B5"));
  add("quartic d = 3, t 1, sign, sums", "paths = 257\nsteps = 20", "kind = \"quartic\"\ndim = 3", t("1.0"),
      "count = 3\nscale = [0.5, 1.0, 0.0]", sign + polynomial, bound("B6d"));
  add("least_squares d = 9, gaussian, sign, sums", "paths = 97\nsteps = 12",
      "kind = \"least_squares\"\ndim = 9\nrows = 23\nrank = 5", "", "count = 2", sign, bound("B6d"));
  // Workers drawn together, beside those above: groups, table sizes, kept and dropped sides.
  add("quadratic d = 5, t 3, sign, 20 workers", "paths = 97\nsteps = 12", quadratic(5), t("3.0"), "count = 20", sign);
  add("cosh d = 3, laplace, sign, 70 workers", "paths = 65\nsteps = 12", "kind = \"cosh\"\ndim = 3",
      "law = \"laplace\"\naffine = 0.3", "count = 70", sign + polynomial);
  add("quadratic d = 65, contaminated, sign, scales", "paths = 65\nsteps = 8", quadratic(65),
      "law = \"contaminated_gaussian\"\neps = 0.1\nk = 10.0", "count = 4\nscale = [0.5, 1.0, 0.5, 2.0]", sign);
  add("quadratic d = 34, rand_k, 20 workers, lists of k", "paths = 65\nsteps = 6", quadratic(34), "affine = 0.2",
      "count = 20\nk = [1, 17, 30, 34, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5]", rand_k(5));
  add("quadratic d = 129, rand_k, scales", "paths = 65\nsteps = 6", quadratic(129), "",
      "count = 3\nscale = [1.0, 0.0, 2.0]", rand_k(50));
  add("quadratic d = 3, bernoulli, batches", "paths = 97\nsteps = 12", quadratic(3), "affine = 0.5",
      "count = 3\nbatch = [1, 2, 1]", bernoulli);
  add("quadratic d = 6, cauchy, merged", "paths = 97\nsteps = 12", quadratic(6), t("1.0") + "\nscale = 0.1",
      "count = 3\nscale = [0.1, 0.2, 0.3]", dsgd);
  // SDE models, of the curve above them.
  const auto model = [](const std::string& method, const std::string& kind, int substeps,
                        const std::string& more = "") {
    return method + "\n[[curve]]\nname = \"model\"\nof = \"c\"\nmodel = \"" + kind +
           "\"\nsubsteps = " + std::to_string(substeps) + "\n" + more;
  };
  const std::string weak2 = "integrator = \"weak2\"\n";
  const std::string tracked = "[[bound]]\ntheorem = \"B4Y\"\ncurve = \"model\"\n";
  add("model: first_order, quadratic d = 1", "paths = 257\nsteps = 20", quadratic(1), "", "",
      model(dsgd + polynomial, "first_order", 3));
  add("model: second_order, quartic d = 2, 3 workers", "paths = 70\nsteps = 12", "kind = \"quartic\"\ndim = 2",
      "scale = 0.5", "count = 3", model(dsgd + polynomial, "second_order", 2));
  add("model: curvature, cosh d = 5, rand_k", "paths = 70\nsteps = 10", "kind = \"cosh\"\ndim = 5\nstart = 0.5",
      "scale = 0.2", "count = 2", model(rand_k(2), "curvature", 4));
  add("model: second_order, sine_pl d = 7, affine, rand_k, weak2", "paths = 70\nsteps = 8",
      "kind = \"sine_pl\"\ndim = 7", "affine = 0.4", "count = 2\nk = [3, 7]\nscale = [0.5, 1.0]",
      model(rand_k(3) + polynomial, "second_order", 2, weak2));
  add("model: curvature, saddle d = 3, bernoulli, weak2", "paths = 70\nsteps = 8",
      "kind = \"saddle\"\ndim = 3\neigenvalues = [-1.0, 0.5, -2.0]\nlam = 0.8\nstart = [0.1, 1.0, -0.2]", "scale = 0.1",
      "", model(bernoulli, "curvature", 3, weak2));
  add("model: first_order, quadratic d = 33, t 5, bernoulli", "paths = 70\nsteps = 8", quadratic(33), t("5.0"),
      "count = 2", model(bernoulli, "first_order", 2));
  add("model: first_order of sign, quadratic d = 2, t 1, affine, tracked", "paths = 70\nsteps = 10", quadratic(2),
      t("1.0") + "\naffine = 0.3", "count = 2\nscale = [0.5, 1.5]", model(sign, "first_order", 2, tracked));
  add("model: second_order of sign, cosh d = 3, t 0.5, weak2", "paths = 70\nsteps = 8",
      "kind = \"cosh\"\ndim = 3\nstart = 0.5", t("0.5"), "count = 2\nscale = [0.0, 1.0]",
      model(sign + polynomial, "second_order", 2, weak2));
  add("model: curvature of sign, logistic d = 5, gaussian, weak2", "paths = 70\nsteps = 6",
      "kind = \"logistic\"\ndim = 5\nrows = 19\nlam = 0.1", "", "count = 3", model(sign, "curvature", 2, weak2));
  add("model: second_order, logistic d = 9, affine, rand_k, weak2", "paths = 70\nsteps = 5",
      "kind = \"logistic\"\ndim = 9\nrows = 11\nlam = 0.1", "affine = 0.2", "count = 2",
      model(rand_k(4), "second_order", 2, weak2));
  add("model: second_order, least_squares d = 9, multivariate_t, bernoulli, weak2", "paths = 70\nsteps = 5",
      "kind = \"least_squares\"\ndim = 9\nrows = 23\nrank = 5", multivariate, "count = 2",
      model(bernoulli, "second_order", 2, weak2));
  add("model: curvature, quadratic d = 130, affine, rand_k, weak2", "paths = 65\nsteps = 3", quadratic(130),
      "affine = 0.3", "count = 2", model(rand_k(30), "curvature", 2, weak2));
  add("model: hessian_aware, quadratic d = 4, rand_k", "paths = 70\nsteps = 12", quadratic(4), "", "count = 2",
      model(rand_k(2) + polynomial, "hessian_aware", 2));
  add("model: hessian_aware, saddle d = 3, affine, bernoulli", "paths = 70\nsteps = 10",
      "kind = \"saddle\"\ndim = 3\neigenvalues = [-1.0, 0.5, -2.0]\nlam = 0.8\nstart = [0.1, 1.0, -0.2]",
      "affine = 0.2", "", model(bernoulli, "hessian_aware", 3));
  add("model: hessian_aware of sign, quadratic d = 64, multivariate_t", "paths = 65\nsteps = 5", quadratic(64),
      multivariate, "count = 2", model(sign, "hessian_aware", 1));
  const auto sums = [](const std::string& theorem) {
    return "[[bound]]\ntheorem = \"" + theorem + "\"\ncurve = \"model\"\n";
  };
  add("model: curvature, quadratic d = 5, rand_k, sums", "paths = 70\nsteps = 10", quadratic(5), "", "count = 2",
      model(rand_k(2) + polynomial, "curvature", 3, sums("B5")));
  add("model: curvature, least_squares d = 9, sums", "paths = 70\nsteps = 6",
      "kind = \"least_squares\"\ndim = 9\nrows = 23\nrank = 5", "", "count = 2",
      model(bernoulli, "curvature", 2, sums("B5")));
  add("model: curvature of sign, cosh d = 40, t 1, sums", "paths = 70\nsteps = 6",
      "kind = \"cosh\"\ndim = 40\nstart = 0.5", t("1.0"), "count = 2", model(sign, "curvature", 2, sums("B6")));
  add("model: diverging", "paths = 97\nsteps = 20\nlimit = 1e6", "kind = \"quartic\"\ndim = 3", "scale = 3.0",
      "count = 2", model("method = \"dsgd\"\neta = 0.2", "first_order", 1));
  // Of methods with adaptive factors and each schedule.
  const std::string by_norm = "\nadaptive = { kind = \"gradient_norm\", c = 0.7, q = 1.5 }",
                    by_growth = "\nadaptive = { kind = \"l0l1\", theta = 0.9, L0 = 1.3, L1 = 0.6 }",
                    by_curvature = "\nadaptive = { kind = \"hessian_norm\", theta = 0.1 }";
  const auto schedule = [](const std::string& keys) { return "\nschedule = { kind = " + keys + " }"; };
  add("model: first_order, quadratic d = 1, gradient_norm", "paths = 130\nsteps = 12", quadratic(1), "", "",
      model(dsgd + by_norm + schedule("\"exponential\", rate = 0.1"), "first_order", 3));
  add("model: second_order, quartic d = 3, l0l1, rand_k", "paths = 70\nsteps = 10", "kind = \"quartic\"\ndim = 3",
      "scale = 0.5", "count = 2", model(rand_k(2) + by_growth + schedule("\"cosine\""), "second_order", 2));
  add("model: second_order, logistic d = 9, gradient_norm, affine", "paths = 70\nsteps = 5",
      "kind = \"logistic\"\ndim = 9\nrows = 11\nlam = 0.1", "affine = 0.2", "count = 2",
      model(bernoulli + by_norm + schedule("\"constant\", warmup = 4"), "second_order", 2));
  add("model: curvature, cosh d = 130, hessian_norm", "paths = 65\nsteps = 4",
      "kind = \"cosh\"\ndim = 130\nstart = 0.5", "scale = 0.2", "count = 2",
      model(dsgd + by_curvature + schedule("\"step\", every = 2, factor = 0.5"), "curvature", 2));
  add("model: curvature of sign, sine_pl d = 7, hessian_norm", "paths = 70\nsteps = 8", "kind = \"sine_pl\"\ndim = 7",
      t("2.0"), "count = 2", model(sign + by_curvature, "curvature", 2));
  add("model: first_order, least_squares d = 9, hessian_norm", "paths = 70\nsteps = 6",
      "kind = \"least_squares\"\ndim = 9\nrows = 23\nrank = 5", t("5.0"), "",
      model(rand_k(4) + by_curvature, "first_order", 2));
  add("model: hessian_aware, saddle d = 5, gradient_norm, affine", "paths = 70\nsteps = 8",
      "kind = \"saddle\"\ndim = 5\neigenvalues = [-1.0, 0.5, -2.0, 1.0, 0.3]\nlam = 0.8\nstart = 0.3", "affine = 0.2",
      "", model(bernoulli + by_norm + polynomial, "hessian_aware", 3));
  add("model: hessian_aware of sign, quadratic d = 2, hessian_norm", "paths = 70\nsteps = 8", quadratic(2), "",
      "count = 3", model(sign + by_curvature, "hessian_aware", 2));
  // Where workers are drawn together, also worker by worker.
  for (std::size_t i = 0, n = all.size(); i < n; ++i) {
    const Experiment experiment = parse_experiment(all[i].text, "verify: " + all[i].name);
    if (sampling_form(experiment.curves.back(), experiment.objective.dim) == SamplingForm::direct) continue;
    VerifyExperiment direct = all[i];
    direct.name += ", direct";
    const std::string curve = "[[curve]]\n";
    direct.text.insert(direct.text.find(curve) + curve.size(), "sampling = \"direct\"\n");
    all.push_back(direct);
  }
  return all;
}

std::string VerifyReport::text() const {
  std::string text;
  for (const std::string& line : header) text += line + "\n";
  std::size_t width = 5;
  for (const VerifyRow& r : rows) width = std::max(width, r.check.size());
  text += fmt::format("\n{:<{}}  {:<6}  {}\n", "check", width, "result", "detail");
  for (const VerifyRow& r : rows)
    text += fmt::format("{:<{}}  {:<6}  {}\n", r.check, width, r.passed ? "passed" : "FAILED", r.detail);
  return text + "\nfor a bug report:\n" + bug_report_line + "\n";
}

std::string VerifiedBackend::versions() const { return cuda_versions(); }
std::vector<DeviceInfo> VerifiedBackend::devices(std::string& why) const { return cuda_devices(why); }
std::vector<std::string> VerifiedBackend::kernel_names() const { return cuda_kernel_names(); }
CudaPlan VerifiedBackend::plan(const SimSpec<float>& spec, const CudaOptions& options, const DeviceInfo& device) const {
  return plan_cuda<float>(spec, options, device);
}
CudaPlan VerifiedBackend::plan(const SimSpec<double>& spec, const CudaOptions& options,
                               const DeviceInfo& device) const {
  return plan_cuda<double>(spec, options, device);
}
SimResult VerifiedBackend::simulate(const SimSpec<float>& spec, const CudaOptions& options) const {
  return simulate_cuda<float>(spec, options);
}
SimResult VerifiedBackend::simulate(const SimSpec<double>& spec, const CudaOptions& options) const {
  return simulate_cuda<double>(spec, options);
}
std::vector<std::uint32_t> VerifiedBackend::random_words(int device, std::uint64_t seed,
                                                         const std::vector<std::uint64_t>& path,
                                                         const std::vector<std::uint64_t>& block) const {
  return cuda_random_words(device, seed, path, block);
}
std::vector<float> VerifiedBackend::function_values(int device, int function, const std::vector<float>& x) const {
  return cuda_function_values<float>(device, function, x);
}
std::vector<double> VerifiedBackend::function_values(int device, int function, const std::vector<double>& x) const {
  return cuda_function_values<double>(device, function, x);
}

VerifyReport verify(const VerifyOptions& options, const VerifiedBackend& backend,
                    const std::function<void(const VerifyRow&)>& progress) {
  return Verification(options, backend, progress).run();
}

VerifyReport verify(const VerifyOptions& options, const std::function<void(const VerifyRow&)>& progress) {
  return verify(options, VerifiedBackend(), progress);
}

}  // namespace pathbound
