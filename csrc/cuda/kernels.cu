// The launches: one thin kernel for each shape of work around the bodies of the headers.
#include <cuda_runtime.h>

#include "launch.h"

namespace contextual_attention {
namespace gpu {
namespace {

constexpr int32_t kThreads = 256;
constexpr int32_t kWarp = 32;
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

// The columns (x, u) of a region as tiles of kThreads threads: about square, so that the taps at x - 1 and
// x + 1 find their scores in the nearest cache, with whole lines of u where those are short.
struct Tiling {
  int32_t height, width, across, count;

  explicit Tiling(const Region& region) {
    const int32_t pieces = (region.u.count + kWarp - 1) / kWarp, whole = 2 * kWarp;
    width = region.u.count <= whole ? region.u.count : (region.u.count + pieces - 1) / pieces;
    height = kThreads / width < region.x.count ? kThreads / width : region.x.count;
    across = (region.u.count + width - 1) / width;
    count = across * ((region.x.count + height - 1) / height);
  }
};

template <class Body>
__global__ void __launch_bounds__(kThreads)
    walk_paths(const __grid_constant__ Body body, const Tiling tiling) {
  const int32_t tile = blockIdx.x % tiling.count, lane = threadIdx.x;
  const int32_t x = tile / tiling.across * tiling.height + lane / tiling.width;
  const int32_t u = tile % tiling.across * tiling.width + lane % tiling.width;
  if (lane / tiling.width >= tiling.height || x >= body.region.x.count || u >= body.region.u.count) return;
  body(blockIdx.y, Path::of(body.region, blockIdx.x / tiling.count), x, u);
}

template <class Body>
__global__ void __launch_bounds__(kThreads) visit_points(const __grid_constant__ Body body) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  const int32_t columns = body.columns();
  // A division of 32 bits takes a fraction of the time of one of 64.
  const int32_t row = int32_t(i <= INT32_MAX ? uint32_t(i) / uint32_t(columns) : i / columns);
  if (row < body.rows()) body(blockIdx.y, row, int32_t(i - int64_t(row) * columns));
}

template <class Body>
__global__ void __launch_bounds__(kThreads) reduce_rows(const __grid_constant__ Body body) {
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

template <class Body>
void start(const Body& body, cudaStream_t stream) {
  if constexpr (Body::shape == Shape::paths) {
    const Tiling tiling(body.region);
    walk_paths<<<grid(int64_t(Path::count(body.region)) * tiling.count, body.samples), kThreads, 0, stream>>>(
        body, tiling);
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

int64_t cache_bytes(int32_t device) {
  int bytes = 0;
  const cudaError_t error = cudaDeviceGetAttribute(&bytes, cudaDevAttrL2CacheSize, device);
  return error == cudaSuccess ? bytes : 0;
}

#define CA_LAUNCH(...) template const char* launch(const __VA_ARGS__&, Stream);
CA_FOR_EACH_BODY(CA_LAUNCH)
#undef CA_LAUNCH

}  // namespace gpu
}  // namespace contextual_attention
