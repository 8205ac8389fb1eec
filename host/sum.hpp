// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace pathbound {

/// A sum that keeps what the additions lose (Neumaier 1974, for terms >= 0).
class Sum {
 public:
  void add(double x) {
    const double next = sum_ + x;
    lost_ += sum_ >= x ? (sum_ - next) + x : (x - next) + sum_;
    sum_ = next;
  }
  double value() const { return sum_ + lost_; }

 private:
  double sum_ = 0.0, lost_ = 0.0;
};

}  // namespace pathbound
