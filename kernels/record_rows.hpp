// SPDX-License-Identifier: Apache-2.0
// How the CPU keeps the records of a block's checkpoints.
#pragma once
#include "kernels/spec.hpp"
#include "kernels/statistics.hpp"

namespace pathbound {

/// The records of every checkpoint, field by field: those of several checkpoints are written, and merged, at once.
struct RecordRows {
  enum Field {
    finite,
    sum,
    m2,
    m3,
    min,
    max,
    grad_norm_sum,
    max_grad,
    n_plain,  ///< the following are details
    max_grad_so_far = n_plain,
    pl_min,
    pl_max,
    sum_y,
    m2_y,
    m3_y,
    sum_t,
    smoothness,
    n_fields
  };

  /// Several checkpoints are written at once, at the end of a row beyond the last: 8 doubles are the largest pack.
  static constexpr int padding = 7;

  double* first = nullptr;  ///< finite of checkpoint 0
  std::int64_t stride = 0;  ///< from field to field
  bool detailed = false;    ///< whether there are details; else they follow from the others (SimSpec: has_details)

  PATHBOUND_HD double* row(int field) const { return first + field * stride; }
  PATHBOUND_HD Record get(int i) const {
    Record r;
    r.finite = static_cast<std::uint64_t>(row(finite)[i]);
    r.sum = row(sum)[i];
    r.m2 = row(m2)[i];
    r.m3 = row(m3)[i];
    r.min = row(min)[i];
    r.max = row(max)[i];
    r.grad_norm_sum = row(grad_norm_sum)[i];
    r.max_grad_so_far = r.max_grad = row(max_grad)[i];
    if (!detailed) return r;
    r.max_grad_so_far = row(max_grad_so_far)[i];
    r.pl_min = row(pl_min)[i];
    r.pl_max = row(pl_max)[i];
    r.sum_y = row(sum_y)[i];
    r.m2_y = row(m2_y)[i];
    r.m3_y = row(m3_y)[i];
    r.sum_t = row(sum_t)[i];
    r.smoothness = row(smoothness)[i];
    return r;
  }
  PATHBOUND_HD void set(int i, const Record& r) const {
    row(finite)[i] = static_cast<double>(r.finite);
    row(sum)[i] = r.sum;
    row(m2)[i] = r.m2;
    row(m3)[i] = r.m3;
    row(min)[i] = r.min;
    row(max)[i] = r.max;
    row(grad_norm_sum)[i] = r.grad_norm_sum;
    row(max_grad)[i] = r.max_grad;
    if (!detailed) return;
    row(max_grad_so_far)[i] = r.max_grad_so_far;
    row(pl_min)[i] = r.pl_min;
    row(pl_max)[i] = r.pl_max;
    row(sum_y)[i] = r.sum_y;
    row(m2_y)[i] = r.m2_y;
    row(m3_y)[i] = r.m3_y;
    row(sum_t)[i] = r.sum_t;
    row(smoothness)[i] = r.smoothness;
  }
};

/// Whether a curve keeps more than the suboptimality and the gradient at its checkpoints (details of RecordRows).
template <class R>
PATHBOUND_HD constexpr bool has_details(const SimSpec<R>& spec) {
  return spec.track_pl || spec.track_gradient || spec.sums != SumKind::none || spec.track_smoothness;
}

}  // namespace pathbound
