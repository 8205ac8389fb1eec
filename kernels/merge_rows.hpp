// SPDX-License-Identifier: Apache-2.0
// Merging the records of several checkpoints at once, where no path has diverged.
#pragma once
#include "kernels/real.hpp"
#include "kernels/record_rows.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

/// merge(Record&, const Record&) of n checkpoints without details, at each of which a and b have the same number of
/// paths, a power of two: divisions by it are exact multiplications.
template <class D>
PATHBOUND_HD void merge_whole_rows(std::int64_t n, double paths, const RecordRows& a, const RecordRows& b) {
  constexpr int lanes = RealTraits<D>::lanes;
  const D inverse(1.0 / paths), half(0.5 * paths), both(paths + paths);
  const auto of = [](const RecordRows& rows, int field, std::int64_t i) { return load<D>(rows.row(field) + i); };
  for (std::int64_t i = 0; i < n; i += lanes) {  // rows go on for a pack
    const auto set = [&](int field, D v) { store(a.row(field) + i, v); };
    const D a_sum = of(a, RecordRows::sum, i), b_sum = of(b, RecordRows::sum, i);
    const D a_m2 = of(a, RecordRows::m2, i), b_m2 = of(b, RecordRows::m2, i);
    const D delta = (b_sum - a_sum) * inverse;
    set(RecordRows::m3, (of(a, RecordRows::m3, i) + of(b, RecordRows::m3, i)) + delta * (D(1.5) * (b_m2 - a_m2)));
    set(RecordRows::m2, (a_m2 + b_m2) + delta * delta * half);
    set(RecordRows::sum, a_sum + b_sum);
    set(RecordRows::finite, both);
    set(RecordRows::min, min(of(b, RecordRows::min, i), of(a, RecordRows::min, i)));
    set(RecordRows::max, max(of(b, RecordRows::max, i), of(a, RecordRows::max, i)));
    set(RecordRows::grad_norm_sum, of(a, RecordRows::grad_norm_sum, i) + of(b, RecordRows::grad_norm_sum, i));
    set(RecordRows::max_grad, max(of(b, RecordRows::max_grad, i), of(a, RecordRows::max_grad, i)));
  }
}

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
