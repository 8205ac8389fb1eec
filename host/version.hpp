// SPDX-License-Identifier: Apache-2.0
// Which build this is. Defined in a source that cmake/version.cmake generates.
#pragma once

namespace pathbound {

/// The version of CMakeLists.txt, "0.1.0".
const char* version();
/// The abbreviated git commit, with "-dirty" when tracked files differ from it; "unknown" outside a repository.
const char* commit();

}  // namespace pathbound
