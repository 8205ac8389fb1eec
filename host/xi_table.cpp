// SPDX-License-Identifier: Apache-2.0
// Only the kernels' functions, + - * /, sqrt and compares: the tables go into the paths, so they must not depend on the
// machine either.
#include "host/xi_table.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <functional>

#include "host/stable.hpp"
#include "host/sum.hpp"
#include "kernels/portable.hpp"

namespace pathbound {

namespace {

/// What a law is made known by: its density on y >= 0 up to a factor, smooth on the scale `width` <= 1 about 0 and on
/// the scale of max(width, y) at y, with octaves [2^e, 2^(e+1)) whose masses fall geometrically or faster from
/// `regular` on.
struct Shape {
  double width;
  std::function<double(double)> density;
  double regular = 1.0;
};

/// For polynomials with that many terms and that accuracy.
Shape shape_of(const LawSpec& law, int terms, double accuracy) {
  const double nu = law.nu, eps = law.eps, k = law.k;
  switch (law.kind) {
    case LawKind::gaussian:
      break;
    case LawKind::student_t:
    case LawKind::multivariate_t:
      // (1 + y^2/nu)^(-nu/2) (1 + y^2/nu)^(-1/2): apart, because nu + 1 would lose digits of a small nu.
      return {std::min(1.0, std::sqrt(nu)), [nu](double y) {
                if (y < 0x1p500) {
                  const double square = y * y / nu;
                  return portable::exp(-0.5 * nu * portable::log1p(square)) / std::sqrt(1.0 + square);
                }
                // Here y^2 may overflow, and 1 adds nothing to it.
                return portable::exp(nu * (0.5 * portable::log(nu) - portable::log(y))) * (std::sqrt(nu) / y);
              }};
    case LawKind::laplace:
      return {1.0, [](double y) { return portable::exp(-y); }};
    case LawKind::logistic:
      return {1.0, [](double y) {
                const double e = portable::exp(-y);
                return e / ((1.0 + e) * (1.0 + e));
              }};
    case LawKind::contaminated_gaussian:
      // Beyond the narrow part's octaves masses rise again to those of the wide one.
      return {std::min(1.0, k),
              [eps, k](double y) {
                const double wide = y / k;
                return (1.0 - eps) * portable::exp(-0.5 * y * y) + eps / k * portable::exp(-0.5 * wide * wide);
              },
              4.0 * std::max(1.0, k)};
    case LawKind::alpha_stable: {
      // For alpha next to 2 the tail only shows where the normal part is gone, e^-(32^2).
      const StableLaw& stable = stable_law(law.alpha);
      return {std::min(1.0, 8.0 * stable.reach_of_polynomial(terms, accuracy)),
              [&stable](double y) { return stable.density(y); }, 64.0};
    }
  }
  return {1.0, [](double y) { return portable::exp(-0.5 * y * y); }};
}

/// The polynomial through n points, by its Chebyshev coefficients.
template <int n>
class Interpolation {
 public:
  Interpolation() {
    for (int k = 0; k < n; ++k)
      for (int j = 0; j < n; ++j) {
        // cos(pi k (2j + 1)/(2n)), reduced to [0, pi] in integers.
        const int turn = k * (2 * j + 1) % (4 * n);
        at(cosine_, k, j) = portable::cos_pi(std::min(turn, 4 * n - turn) / (2.0 * n));
      }
    // T_k(2t - 1) by powers of t, exactly: the coefficients are integers.
    at(power_, 0, 0) = 1.0;
    at(power_, 1, 0) = -1.0;
    at(power_, 1, 1) = 2.0;
    for (int k = 2; k < n; ++k)
      for (int i = 0; i <= k; ++i)
        at(power_, k, i) =
            4.0 * (i > 0 ? at(power_, k - 1, i - 1) : 0.0) - 2.0 * at(power_, k - 1, i) - at(power_, k - 2, i);
  }
  /// f(start + width t) = sum_i a_i t^i for t in [0, 1].
  std::array<double, n> operator()(const std::function<double(double)>& f, double start, double width) const {
    std::array<double, n> value{}, a{};
    for (int j = 0; j < n; ++j) value[index(j)] = f(start + width * (0.5 + 0.5 * at(cosine_, 1, j)));
    for (int k = n - 1; k >= 0; --k) {  // the smallest first
      double c = 0.0;
      for (int j = 0; j < n; ++j) c += value[index(j)] * at(cosine_, k, j);
      c *= (k == 0 ? 1.0 : 2.0) / n;
      for (int i = 0; i <= k; ++i) a[index(i)] += c * at(power_, k, i);
    }
    return a;
  }

 private:
  using Square = std::array<double, static_cast<std::size_t>(n) * n>;
  static std::size_t index(int i) { return static_cast<std::size_t>(i); }
  static double& at(Square& m, int row, int column) { return m[index(row * n + column)]; }
  static double at(const Square& m, int row, int column) { return m[index(row * n + column)]; }
  Square cosine_{}, power_{};
};

}  // namespace

template <class R>
XiPieces<R>::XiPieces(const LawSpec& law) {
  constexpr int terms = XiTable<R>::terms, per_octave = 1 << XiTable<R>::octave_bits;
  constexpr double end = sizeof(R) == 4 ? 0x1p127 : 0x1p1023, negligible = sizeof(R) == 4 ? 0x1p-27 : 0x1p-56;
  const Shape shape = shape_of(law, terms, negligible);
  const Interpolation<terms> interpolate;

  // Every piece that has any mass, as integrals of the density, not yet normalised.
  struct Piece {
    double start, width, before, mass;  // before: the mass below `start`
    std::array<double, terms> c;        // c_1, c_2, ...
  };
  std::vector<Piece> pieces;
  Sum sum;
  const auto append = [&](double start, double width) {
    Piece piece{start, width, sum.value(), 0.0, interpolate(shape.density, start, width)};
    for (int i = terms - 1; i >= 0; --i) {
      double& c = piece.c[static_cast<std::size_t>(i)];
      c *= width / (i + 1);
      piece.mass += c;
    }
    sum.add(piece.mass);
    pieces.push_back(piece);
  };
  double low = 0.125;
  while (8.0 * low > shape.width) low *= 0.5;
  append(0.0, low);
  // Beyond the last octave masses fall at least as fast as to it. (Not so for the first ones of every law.)
  double rest = 0.0, octave_before = 0.0;
  for (double start = low; start < 0x1p1023; start *= 2.0) {
    double octave = 0.0;
    for (int i = 0; i < per_octave; ++i) {
      append(start + start / per_octave * i, start / per_octave);
      octave += pieces.back().mass;
    }
    const bool falls = octave < octave_before;
    rest = falls ? octave * octave / (octave_before - octave) : 0.0;
    octave_before = octave;
    if (falls && start >= shape.regular && rest < 0x1p-60 * sum.value()) break;
  }
  const double factor = 0.5 / (sum.value() + rest);

  // Without the pieces that add nothing.
  double beyond = rest;
  while (pieces.size() > 1) {
    const Piece& last = pieces.back();
    beyond += last.mass;
    const bool needed = factor * std::max(beyond, last.start * shape.density(last.start)) >= negligible;
    if (needed && last.start + last.width <= end) break;
    pieces.pop_back();
  }

  pieces_.reserve((pieces.size() + 1) * XiTable<R>::stride);
  for (const Piece& piece : pieces) {
    pieces_.push_back(static_cast<R>(1.0 / piece.width));
    pieces_.push_back(static_cast<R>(factor * piece.before));
    for (const double c : piece.c) pieces_.push_back(static_cast<R>(factor * c));
  }
  pieces_.resize(pieces_.size() + XiTable<R>::stride, R(0));
  pieces_[pieces_.size() - XiTable<R>::stride + 1] = R(0.5);
  table_.pieces = pieces_.data();
  table_.n_pieces = static_cast<int>(pieces.size()) + 1;
  table_.low = static_cast<R>(low);
  table_.inverse_low = static_cast<R>(1.0 / low);
}

template class XiPieces<float>;
template class XiPieces<double>;

}  // namespace pathbound
