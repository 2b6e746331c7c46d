// Where a pipeline runs: on the current stream of a CUDA device or, in what tests build, on the host.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include <typeinfo>

#include "kernels.h"
#include "launch_count.h"

namespace contextual_attention::cuda {

// Where kernels are registered, and what is added to the names of operators there.
#if defined(CA_CUDA_ARCHITECTURES)
constexpr bool kBuiltForCuda = true;
#define CA_DEVICE CUDA
#define CA_PLACE ""
#else
constexpr bool kBuiltForCuda = false;
#define CA_DEVICE CPU
#define CA_PLACE "_on_host"
#endif

class Executor {
 public:
  // With so little cache and workspace that not all of the tests' problems fit into them; with an H100's
  // shared memory.
  static Executor on_host() { return Executor(-1, nullptr, 1 << 16, 227 << 10); }
  // The device's stream is the one that is current in torch.
  static Executor on_device(int32_t device);

  template <class Body>
  void run(const Body& body) const {
    count_launch();
    if constexpr (kBuiltForCuda) {
      // It may be the error of an earlier kernel, unless CUDA_LAUNCH_BLOCKING is set: then it is this one's.
      const char* error = launch(body, stream_);
      STD_TORCH_CHECK(error == nullptr, "contextual_attention: CUDA cannot run ", typeid(Body).name(), ": ",
                      error);
    } else {
      loop(body);
    }
  }

  bool is_host() const { return device_ < 0; }
  int32_t device() const { return device_; }
  // The level 2 cache in bytes.
  int64_t cache() const { return cache_; }
  // The memory in bytes that the threads of a block may share.
  int64_t shared() const { return shared_; }
  // The bound on the score scratch where the caller sets none.
  int64_t default_workspace() const;

 private:
  Executor(int32_t device, Stream stream, int64_t cache, int64_t shared)
      : device_(device), stream_(stream), cache_(cache), shared_(shared) {}

  int32_t device_;
  Stream stream_;
  int64_t cache_, shared_;
};

// run(executor), where a tensor is.
template <class Run>
auto run_beside(const torch::stable::Tensor& tensor, const Run& run) {
  if constexpr (kBuiltForCuda) {
    const torch::stable::accelerator::DeviceGuard guard(tensor.get_device_index());
    return run(Executor::on_device(tensor.get_device_index()));
  } else {
    return run(Executor::on_host());
  }
}

}  // namespace contextual_attention::cuda
