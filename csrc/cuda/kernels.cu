// The launches: one thin kernel for each shape of work around the bodies of the headers.
#include <cuda_runtime.h>

#include "kernels.h"

namespace contextual_attention::cuda {
namespace {

constexpr int32_t kThreads = 256;
constexpr int32_t kWarp = kLanes;
constexpr unsigned kAllLanes = 0xffffffffu;

// The lanes of a warp that share a row.
struct WarpLanes {
  static constexpr int32_t count = kWarp;
  int32_t index;

  template <class T>
  __device__ T sum(T x) const {
#pragma unroll
    for (int32_t other = kWarp / 2; other > 0; other /= 2) x += __shfl_xor_sync(kAllLanes, x, other);
    return x;
  }
  // Of the lanes whose indices differ by multiples of kApart.
  template <int32_t kApart>
  __device__ float sum_apart(float x) const {
#pragma unroll
    for (int32_t other = kWarp / 2; other >= kApart; other /= 2) x += __shfl_xor_sync(kAllLanes, x, other);
    return x;
  }
  __device__ float largest(float x) const {
#pragma unroll
    for (int32_t other = kWarp / 2; other > 0; other /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, other));
    return x;
  }
  // The largest value, and of its indices the smallest.
  __device__ void best(float& value, int32_t& index_of) const {
#pragma unroll
    for (int32_t other = kWarp / 2; other > 0; other /= 2) {
      const float value_there = __shfl_xor_sync(kAllLanes, value, other);
      const int32_t index_there = __shfl_xor_sync(kAllLanes, index_of, other);
      if (value_there > value || (value_there == value && index_there < index_of)) {
        value = value_there;
        index_of = index_there;
      }
    }
  }
  __device__ void sync() const { __syncwarp(); }
};

// Small blocks, for paths end at different times; so many on a multiprocessor leave a thread 168 registers.
constexpr int32_t kWalkers = 128, kBlocks = 3;

// The columns (x, u) of a region as combs, a warp each. Neighbouring x go to one block, so that the taps at
// x - 1 and x + 1 find their scores in the nearest cache.
struct Combs {
  int32_t across, blocks;  // combs of a row; blocks of a path

  template <int32_t kColumns>
  static Combs of(const Region& region) {
    constexpr int32_t kWidth = kLanes * kColumns, kWarps = kWalkers / kWarp;
    const int32_t across = (region.u.count + kWidth - 1) / kWidth;
    return {across, (region.x.count * across + kWarps - 1) / kWarps};
  }
};

template <class Body, int32_t kColumns>
__global__ void __launch_bounds__(kWalkers, kBlocks)
    walk_paths(const __grid_constant__ Body body, const Combs combs) {
  const Region& region = body.region;
  const int32_t warp = blockIdx.x % combs.blocks * (kWalkers / kWarp) + threadIdx.x / kWarp;
  const int32_t x = warp % region.x.count, comb = warp / region.x.count;
  const int32_t u = comb * kLanes * kColumns + threadIdx.x % kWarp;
  if (comb >= combs.across || u >= region.u.count) return;
  body.walk(blockIdx.y, Path::of(region, blockIdx.x / combs.blocks), region.x.first + x,
            Comb<kColumns>{region.u.first + u, region.u.first + region.u.count});
}

// Octets of a path side by side, and of as many paths as a warp has lanes for; neighbouring x in one block.
struct Octets {
  int32_t across;    // of a row
  int32_t x_blocks;  // blocks side by side

  static Octets of(const Region& region, int32_t pixels_across) {
    const int32_t pixels_of_block = kWalkers / kWarp * pixels_across;
    return {padded(region.u.count) / kOctet, (region.x.count + pixels_of_block - 1) / pixels_of_block};
  }
  int64_t blocks(const Region& region) const {
    const int64_t walks = int64_t(Path::count(region)) * across;
    return (walks + kWarp - 1) / kWarp * x_blocks;
  }
};

template <class Body>
__global__ void __launch_bounds__(kWalkers, kBlocks)
    walk_octets(const __grid_constant__ Body body, const Octets octets) {
  const Region& region = body.region;
  const int32_t warp = blockIdx.x % octets.x_blocks * (kWalkers / kWarp) + threadIdx.x / kWarp;
  const int32_t x = warp * kPixelsAcross<Body>;
  const int32_t i = blockIdx.x / octets.x_blocks * kWarp + threadIdx.x % kWarp, path = i / octets.across;
  if (x >= region.x.count || path >= Path::count(region)) return;
  body.walk(blockIdx.y, Path::of(region, path), region.x.first + x, i % octets.across * kOctet);
}

template <class Body>
__global__ void __launch_bounds__(kThreads) visit_points(const __grid_constant__ Body body) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  const int32_t columns = body.columns();
  // A division of 32 bits takes a fraction of the time of one of 64.
  const int32_t row = int32_t(i <= INT32_MAX ? uint32_t(i) / uint32_t(columns) : i / columns);
  if (row < body.rows()) body(blockIdx.y, row, int32_t(i - int64_t(row) * columns));
}

// So many blocks on a multiprocessor leave a thread 80 registers: enough warps to wait for loads together.
constexpr int32_t kRowBlocks = 3;

template <class Body>
__global__ void __launch_bounds__(kThreads, kRowBlocks) reduce_rows(const __grid_constant__ Body body) {
  const int64_t row = int64_t(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
  if (row < body.rows()) body(blockIdx.y, int32_t(row), WarpLanes{int32_t(threadIdx.x % kWarp)});
}

template <class Body>
__global__ void __launch_bounds__(kThreads) visit_items(const __grid_constant__ Body body) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i < body.items) body(blockIdx.y, i);
}

dim3 grid(int64_t blocks, int32_t samples) { return dim3(unsigned(blocks), unsigned(samples)); }

dim3 threads_for(int64_t threads, int32_t samples) {
  return grid((threads + kThreads - 1) / kThreads, samples);
}

const char* message(cudaError_t error) { return error == cudaSuccess ? nullptr : cudaGetErrorString(error); }

int64_t attribute(cudaDeviceAttr which, int32_t device) {
  int value = 0;
  return cudaDeviceGetAttribute(&value, which, device) == cudaSuccess ? value : 0;
}

template <int32_t kColumns, class Body>
void start_walks(const Body& body, cudaStream_t stream) {
  const Combs combs = Combs::of<kColumns>(body.region);
  const int64_t blocks = int64_t(Path::count(body.region)) * combs.blocks;
  walk_paths<Body, kColumns><<<grid(blocks, body.samples), kWalkers, 0, stream>>>(body, combs);
}

template <class Body>
void start(const Body& body, cudaStream_t stream) {
  if constexpr (Body::shape == Shape::paths) {
    with_columns(body.region, [&](auto columns) { start_walks<columns.count>(body, stream); });
  } else if constexpr (Body::shape == Shape::octets) {
    const Octets octets = Octets::of(body.region, kPixelsAcross<Body>);
    walk_octets<<<grid(octets.blocks(body.region), body.samples), kWalkers, 0, stream>>>(body, octets);
  } else if constexpr (Body::shape == Shape::points) {
    visit_points<<<threads_for(int64_t(body.rows()) * body.columns(), body.samples), kThreads, 0, stream>>>(
        body);
  } else if constexpr (Body::shape == Shape::rows) {
    reduce_rows<<<threads_for(int64_t(body.rows()) * kWarp, body.samples), kThreads, 0, stream>>>(body);
  } else {
    visit_items<<<threads_for(body.items, body.samples), kThreads, 0, stream>>>(body);
  }
}

}  // namespace

template <class Body>
const char* launch(const Body& body, Stream stream) {
  start(body, static_cast<cudaStream_t>(stream));
  return message(cudaGetLastError());
}

const char* use_device(int32_t device) { return message(cudaSetDevice(device)); }

int64_t cache_bytes(int32_t device) { return attribute(cudaDevAttrL2CacheSize, device); }

int64_t shared_bytes(int32_t device) { return attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device); }

int64_t memory_bytes(int32_t device) {
  cudaDeviceProp properties;
  const cudaError_t error = cudaGetDeviceProperties(&properties, device);
  return error == cudaSuccess ? int64_t(properties.totalGlobalMem) : 0;
}

#define CA_LAUNCH(...) template const char* launch(const __VA_ARGS__&, Stream);
CA_FOR_EACH_BODY(CA_LAUNCH)
#undef CA_LAUNCH

}  // namespace contextual_attention::cuda
