#include "executor.h"

#include <dlfcn.h>

#include <atomic>
#include <map>
#include <mutex>

#include "plan.h"

namespace contextual_attention::cuda {
namespace {

std::atomic<int64_t> launches{0};

// libtorch_cuda cannot be named at link time: the module would not load under a CPU build of torch.
Stream current_stream(int32_t device) {
  using Lookup = AOTITorchError (*)(int32_t, void**);
  static const Lookup lookup = [] {
    void* library = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
    return library ? reinterpret_cast<Lookup>(dlsym(library, "aoti_torch_get_current_cuda_stream")) : nullptr;
  }();
  STD_TORCH_CHECK(lookup != nullptr,
                  "contextual_attention: libtorch_cuda.so does not tell its current stream; this build needs "
                  "torch 2.11 or later with CUDA");
  Stream stream = nullptr;
  TORCH_ERROR_CODE_CHECK(lookup(device, &stream));
  return stream;
}

// Asked once of each device: it may take milliseconds to say.
int64_t memory_of(int32_t device) {
  static std::mutex mutex;
  static std::map<int32_t, int64_t> known;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto [found, is_new] = known.try_emplace(device);
  if (is_new) found->second = memory_bytes(device);
  return found->second;
}

}  // namespace

int64_t take_launch_count() { return launches.exchange(0); }
void count_launch() { ++launches; }

Executor Executor::on_device(int32_t device) {
  if constexpr (kBuiltForCuda) {
    const char* error = use_device(device);
    STD_TORCH_CHECK(error == nullptr, "contextual_attention: CUDA cannot use device ", device, ": ", error);
    return Executor(device, current_stream(device), cache_bytes(device), shared_bytes(device));
  }
  STD_TORCH_CHECK(false, "contextual_attention: this build has no CUDA kernels");
}

int64_t Executor::default_workspace() const {
  constexpr int64_t kMib = 1 << 20;
  return is_host() ? 4 * kMib : cuda::default_workspace(memory_of(device_));
}

}  // namespace contextual_attention::cuda
