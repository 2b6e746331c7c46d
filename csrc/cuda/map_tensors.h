// Tensors as the bodies around the operator take them.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <initializer_list>
#include <optional>

#include "executor.h"
#include "planes.h"

namespace contextual_attention::cuda {

// Of all samples, as many at once as a grid takes.
template <class Body>
void run_all(const Executor& executor, Body body, int64_t samples) {
  for (int64_t first = 0; first < samples; first += kMostSamples) {
    body.first = int32_t(first);
    body.samples = int32_t(std::min(samples - first, kMostSamples));
    executor.run(body);
  }
}

// run(T{}) with T the entries of a dtype.
template <class Run>
void with_entry(torch::headeronly::ScalarType dtype, const Run& run) {
  switch (dtype) {
    case torch::headeronly::ScalarType::Float:
      return run(float{});
    case torch::headeronly::ScalarType::BFloat16:
      return run(Bfloat16{});
    case torch::headeronly::ScalarType::Half:
      return run(Float16{});
    default:
      STD_TORCH_CHECK(false, "contextual_attention: maps must be float32, bfloat16 or float16");
  }
}

// The same where only the size of an entry matters.
template <class Run>
void with_bits(int64_t bytes, const Run& run) {
  switch (bytes) {
    case 1:
      return run(uint8_t{});
    case 2:
      return run(uint16_t{});
    case 4:
      return run(uint32_t{});
    case 8:
      return run(uint64_t{});
    default:
      STD_TORCH_CHECK(false, "contextual_attention: entries of ", bytes, " bytes are not supported");
  }
}

template <class T>
T* data_of(const torch::stable::Tensor& t) {
  return static_cast<T*>(const_cast<void*>(static_cast<const void*>(t.data_ptr())));
}

template <class T>
Planes<T> planes(const torch::stable::Tensor& t) {
  return {data_of<T>(t), int32_t(t.size(1)), t.stride(0), t.stride(1), t.stride(2), t.stride(3)};
}

// Of a contiguous tensor, whose pixels have so many channels.
template <class T>
PixelChannels<T> pixel_channels(const torch::stable::Tensor& t, int64_t channels) {
  const bool aligned = PixelChannels<T>::kVectors > 0 && channels % kGroup == 0 &&
                       reinterpret_cast<uintptr_t>(t.data_ptr()) % sizeof(Vector) == 0;
  return {data_of<T>(t), int32_t(channels), aligned};
}

// Of a contiguous tensor (samples, rows, columns), one for all samples or one for each.
template <class T>
PixelMap<T> pixel_map(const torch::stable::Tensor& t) {
  return {data_of<T>(t), int32_t(t.size(1)), int32_t(t.size(2)), t.size(0) == 1 ? 0 : t.size(1) * t.size(2)};
}

template <class T>
PixelMap<T> pixel_map(const std::optional<torch::stable::Tensor>& t) {
  return t ? pixel_map<T>(*t) : PixelMap<T>{};
}

// Flags or weights of the cells or positions of a batch, contiguous.
inline std::optional<torch::stable::Tensor> checked_map(const std::optional<torch::stable::Tensor>& t,
                                                        const char* name, torch::headeronly::ScalarType dtype,
                                                        int64_t batch, int64_t rows, int64_t columns) {
  if (!t) return std::nullopt;
  STD_TORCH_CHECK(t->scalar_type() == dtype, "contextual_attention: ", name, " does not have its dtype");
  STD_TORCH_CHECK(t->dim() == 3 && (t->size(0) == 1 || t->size(0) == batch) && t->size(1) == rows &&
                      t->size(2) == columns,
                  "contextual_attention: ", name, " must have an entry for each cell or position");
  return torch::stable::contiguous(*t);
}

inline torch::stable::Tensor empty(const torch::stable::Tensor& like, std::initializer_list<int64_t> sizes,
                                   torch::headeronly::ScalarType dtype) {
  return torch::stable::new_empty(like, {sizes.begin(), sizes.size()}, dtype);
}

}  // namespace contextual_attention::cuda
