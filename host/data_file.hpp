// SPDX-License-Identifier: Apache-2.0
// Data files of least_squares and logistic: CSV and LIBSVM.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

namespace pathbound {

/// Objectives over data hold rows x dim numbers, at most this many (128 MiB in double).
inline constexpr std::size_t max_data_entries = std::size_t{1} << 24;

/// They also need the eigenvalues of dense dim x dim matrices (seconds at this size), so dim is limited too.
inline constexpr int max_data_dim = 1024;

struct DataSet {
  int n_rows = 0;
  std::vector<double> features;  ///< n_rows x dim, row by row
  std::vector<double> labels;    ///< n_rows, as they stand in the file
};

/// Reads `dim` features and a label a row. Files that end in .csv are CSV, in .libsvm, .svm or .svmlight LIBSVM;
/// others are LIBSVM when their first row holds a colon.
///
/// CSV: cells separated by commas, the label in the *last* column, so dim + 1 columns; a first row in which no cell is
/// a number is a header. LIBSVM: `label index:value ...`, indices from 1, ascending; features that are not named are 0,
/// so indices above dim are refused, and a dim above the largest index is not. Both: blank lines and what follows a #
/// are skipped; a number may carry a plus sign; nan, infinities and magnitudes above 1e15 are refused.
///
/// Throws InputError that begins with file:line.
DataSet read_data_file(const std::string& file, int dim);

}  // namespace pathbound
