// The launches of marches, and what a block of threads does at once: products by tensor cores, copies to
// shared memory that nobody waits for, and meetings.
#include <cuda_runtime.h>

#include "gram_sums.h"
#include "kernels.h"

namespace contextual_attention::cuda {
namespace {

extern __shared__ __align__(128) char shared[];

__device__ __forceinline__ uint32_t address(int32_t offset) {
  return uint32_t(__cvta_generic_to_shared(shared)) + offset;
}

// A warp's products of 16 x 16 by 16 x 8 features, of which each lane has a part in registers.
class DeviceWarp {
 public:
  struct Fragment {
    uint32_t words[4];
  };

  __device__ explicit DeviceWarp(GramLane& lane) : lane_(lane) {}
  __device__ int32_t down() const { return lane_.warp_down; }
  __device__ int32_t across() const { return lane_.warp_across; }
  // Four matrices of 8 x 8, whose lines lie where the lanes say.
  template <class Place>
  __device__ Fragment load(const Place& place) const {
    Fragment f;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(f.words[0]), "=r"(f.words[1]), "=r"(f.words[2]), "=r"(f.words[3])
                 : "r"(address(place(int32_t(threadIdx.x) % kLanes))));
    return f;
  }
  // `columns` has those of n and of its neighbour.
  template <class T, bool kFresh>
  __device__ void multiply(int32_t m, int32_t n, const Fragment& rows, const Fragment& columns) {
    float (&sums)[4] = lane_.products[m][n];
    const uint32_t *a = rows.words, *b = columns.words + n % 2 * 2;
    if (kFresh)
      multiply(static_cast<const T*>(nullptr), sums, a, b, 0.0f, 0.0f, 0.0f, 0.0f);
    else
      multiply(static_cast<const T*>(nullptr), sums, a, b, sums[0], sums[1], sums[2], sums[3]);
  }

 private:
#define CA_MULTIPLY(type)                                                                            \
  asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type                                         \
      ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"                     \
      : "=f"(sums[0]), "=f"(sums[1]), "=f"(sums[2]), "=f"(sums[3])                                   \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c0), "f"(c1), "f"(c2), \
        "f"(c3))
  __device__ static void multiply(const Bfloat16*, float (&sums)[4], const uint32_t* a, const uint32_t* b,
                                  float c0, float c1, float c2, float c3) {
    CA_MULTIPLY("bf16");
  }
  __device__ static void multiply(const Float16*, float (&sums)[4], const uint32_t* a, const uint32_t* b,
                                  float c0, float c1, float c2, float c3) {
    CA_MULTIPLY("f16");
  }
#undef CA_MULTIPLY

  GramLane& lane_;
};

class DeviceBlock {
 public:
  template <class Work>
  __device__ void each(const Work& work) {
    work(int32_t(threadIdx.x), lane_);
  }
  template <class Work>
  __device__ void warps(const Work& work) {
    DeviceWarp warp(lane_);
    work(warp);
  }
  __device__ March& march() const {
    __shared__ March march;
    return march;
  }
  __device__ float* floats(int32_t offset) const { return reinterpret_cast<float*>(shared + offset); }
  __device__ void copy(int32_t to, const void* from, bool exists) const {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address(to)), "l"(from),
                 "r"(exists ? 16 : 0)
                 : "memory");
  }
  __device__ void commit() const { asm volatile("cp.async.commit_group;" ::: "memory"); }
  // For the oldest copies, and all threads.
  __device__ void await() const {
    asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 2) : "memory");
    __syncthreads();
  }
  __device__ void sync() const { __syncthreads(); }

 private:
  GramLane lane_;
};

template <class Body>
__global__ void __launch_bounds__(kMostWarps* kLanes, 1) march_rows(const __grid_constant__ Body body) {
  DeviceBlock block;
  body.march(block, blockIdx.y, blockIdx.x);
}

}  // namespace

template <class Body>
const char* launch(const Body& body, Stream stream) {
  const GramShape& shape = body.tiles.shape;
  cudaError_t error =
      cudaFuncSetAttribute(march_rows<Body>, cudaFuncAttributeMaxDynamicSharedMemorySize, shape.bytes());
  if (error == cudaSuccess) {
    const dim3 grid(unsigned(body.marches()), unsigned(body.samples));
    march_rows<<<grid, shape.threads(), shape.bytes(), static_cast<cudaStream_t>(stream)>>>(body);
    error = cudaGetLastError();
  }
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

#define CA_LAUNCH(...) template const char* launch(const __VA_ARGS__&, Stream);
CA_FOR_EACH_MARCH(CA_LAUNCH)
#undef CA_LAUNCH

}  // namespace contextual_attention::cuda
