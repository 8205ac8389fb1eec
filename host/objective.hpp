// SPDX-License-Identifier: Apache-2.0
// Objectives on the host: the constants that theorems need, the optimum, and the arrays the inner loops read.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "host/experiment.hpp"
#include "kernels/spec.hpp"

namespace pathbound {

/// How a constant is known.
enum class Provenance { proved, numerical, user, none };

struct Constant {
  std::optional<double> value;
  Provenance provenance = Provenance::none;
  std::string detail;  ///< e.g. "smallest eigenvalue", "numerical, theory.md section 5", "key objective.mu"
};

/// theory section 5: f is mu-PL and L-smooth (or (L0, L1)-smooth) with minimum f_star.
struct ObjectiveConstants {
  Constant mu, L, L0, L1;
  std::optional<double> best_mu;  ///< where the user gave mu: the largest mu for which f is known to be mu-PL
  double f_star = 0.0;
  double suboptimality_at_start = 0.0;  ///< S(x0)
  std::vector<double> gradient_at_start;
  bool super_quadratic = false;  ///< quartic, cosh, saddle: E S of unbounded noise does not exist (O9)
};

/// Owns everything a SimSpec points to about the objective.
class Objective {
 public:
  explicit Objective(const ObjectiveConfig& config);  ///< throws InputError (data files, Newton did not converge)
  const ObjectiveConfig& config() const { return config_; }
  const ObjectiveConstants& constants() const { return constants_; }
  const std::vector<double>& x_star() const { return x_star_; }
  /// Fills the objective part of a SimSpec; the pointers live as long as this object.
  template <class R>
  ObjectiveSpec<R> spec() const;
  /// f(x) - f* and its gradient in plain double code, an independent check of the kernels.
  double suboptimality(const std::vector<double>& x) const;
  std::vector<double> gradient(const std::vector<double>& x) const;

 private:
  template <class R>
  struct Arrays {
    std::vector<R> h, x_star, gram, rows;
  };
  ObjectiveConfig config_;
  ObjectiveConstants constants_;
  int n_rows_ = 0;
  std::vector<double> h_, x_star_, rows_, margin_star_, gram_;
  Arrays<float> float_;
  Arrays<double> double_;
};

}  // namespace pathbound
