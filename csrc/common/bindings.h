// What the parts of the Python module have in common. No header of torch's is included here: pybind11 and the
// stable ABI meet only in the linker.
#pragma once

#include <pybind11/pybind11.h>

#include <type_traits>

#include "problem.h"

namespace pybind11::detail {

// From an object with the fields of a problem (contextual_attention/problem.py); an AttributeError without.
template <>
struct type_caster<contextual_attention::Problem> {
  PYBIND11_TYPE_CASTER(contextual_attention::Problem, const_name("Problem"));

  bool load(handle from, bool) {
    const auto read = [&](auto& field, const char* name) {
      using Field = std::decay_t<decltype(field)>;
      if constexpr (std::is_enum_v<Field>)
        field = static_cast<Field>(from.attr(name).cast<int64_t>());
      else
        field = from.attr(name).cast<Field>();
    };
#define CA_READ(type, name) read(value.name, #name);
    CA_SIZES(CA_READ)
    CA_SCORING(CA_READ)
#undef CA_READ
    return true;
  }
};

}  // namespace pybind11::detail

namespace contextual_attention {

// Add what there is to ask of the kernels: cpu/bindings.cpp and, in builds that have them, cuda/bindings.cpp.
void bind_cpu(pybind11::module_& module);
void bind_cuda(pybind11::module_& module);

}  // namespace contextual_attention
