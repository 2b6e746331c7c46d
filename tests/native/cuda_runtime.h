// Stands in for CUDA's header of this name: kernels.cu compiled by a C++ compiler, its launches run thread by
// thread on the host (emulator.cpp). It has what kernels.cu uses and no more.
//
// A launch kernel<<<...>>>(...) is no C++; tests/helpers/emulated_build.py rewrites it into emulator::launch.
#pragma once

#include <math.h>

#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
// Inlined, so that every call of a lane function in the sources is a place of its own.
#define __device__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// Of the thread that runs.
inline dim3 blockIdx, threadIdx;

using cudaStream_t = struct CUstream_st*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidConfiguration = 9, cudaErrorLaunchFailure = 719 };
enum cudaDeviceAttr { cudaDevAttrL2CacheSize = 38, cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };
struct cudaDeviceProp {
  size_t totalGlobalMem;
};

cudaError_t cudaGetLastError();
const char* cudaGetErrorString(cudaError_t error);
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = 0;
  return cudaSuccess;
}

inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {0};
  return cudaSuccess;
}

namespace emulator {

struct Settings {
  bool backwards = false;  // the last block, warp and lane first
  // The blocks that are run of each launch: a look into one that is too large.
  int64_t first_block = 0, end_block = INT64_MAX;
};
extern Settings settings;

// Runs `thread` for every thread of the grid, at once. What goes wrong is left for cudaGetLastError.
void launch(const char* kernel, dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
            const std::function<void()>& thread);

// Waits for all lanes of the warp to get here, then gives the bits of the lane whose index differs by
// `other`.
uint64_t meet(const char* call, int line, unsigned mask, uint64_t bits, unsigned other);

}  // namespace emulator

template <class T>
__device__ T __shfl_xor_sync(unsigned mask, T value, int other, int line = __builtin_LINE()) {
  static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle takes up to 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = emulator::meet("__shfl_xor_sync", line, mask, bits, unsigned(other));
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

__device__ void __syncwarp(unsigned mask = 0xffffffffu, int line = __builtin_LINE()) {
  emulator::meet("__syncwarp", line, mask, 0, 0);
}
