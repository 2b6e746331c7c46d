// The Python module contextual_attention_C: what is not a tensor operator.
//
// Importing it loads the shared object and so registers the operators of the other files with torch.

#include <pybind11/stl.h>

#include <sstream>
#include <string>
#include <vector>

#include "common/bindings.h"
#include "cpu/simd.h"

namespace py = pybind11;

namespace contextual_attention {

// state.cpp's.
extern const char kState[];

namespace {

std::string compiler() {
#if defined(__clang__)
  return "clang++ " __clang_version__;
#else
  return "g++ " __VERSION__;
#endif
}

// Such as 8.0, 9.0a, 12.0+PTX; empty in a build without CUDA.
std::vector<std::string> cuda_architectures() {
  std::vector<std::string> names;
#if defined(CA_CUDA_ARCHITECTURES)
  std::istringstream list(CA_CUDA_ARCHITECTURES);
  for (std::string name; std::getline(list, name, ';');) names.push_back(name);
#endif
  return names;
}

py::dict build_info() {
  py::dict info;
  info["state"] = std::string(kState);
  info["compiler"] = compiler();
  info["simd_levels"] = cpu::built_simd_levels();
  info["cuda_architectures"] = cuda_architectures();
  info["torch_headers"] = CA_TORCH_HEADERS;
  return info;
}

}  // namespace
}  // namespace contextual_attention

PYBIND11_MODULE(contextual_attention_C, module) {
  namespace ca = contextual_attention;
  module.doc() = "The compiled half of contextual_attention: what is not a tensor operator.";
  module.def("build_info", &ca::build_info,
             "How this module was built: \"compiler\" and \"torch_headers\" (versions), \"simd_levels\" and\n"
             "\"cuda_architectures\" (lists of names), and \"state\", from which sources.");
  ca::bind_cpu(module);
#if defined(CA_CUDA_ARCHITECTURES)
  ca::bind_cuda(module);
#endif
}
