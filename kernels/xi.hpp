#pragma once
#include "kernels/math.hpp"
#include "kernels/spec.hpp"
namespace pathbound { inline namespace PATHBOUND_ISA {
template <class F> struct XiValue { F xi, density; };
template <class F> PATHBOUND_HD XiValue<F> xi_of(const XiTable<ScalarOf<F>>&, F y) { return {y, y}; }
}}
