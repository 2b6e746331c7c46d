// The bodies of the CUDA filters in plain loops: what the tests run where there is no GPU, to check the index
// arithmetic that the kernels share. One thread, no care for speed.
#include "cuda/kernels.h"
#include "host_block.h"

namespace contextual_attention::cuda {
namespace {

template <int32_t kColumns, class Body>
void run_paths(const Body& body, int32_t n) {
  const Region& region = body.region;
  constexpr int32_t kWidth = kLanes * kColumns;
  for (int32_t i = 0; i < Path::count(region); ++i)
    for (int32_t x = 0; x < region.x.count; ++x)
      for (int32_t u = 0; u < region.u.count; ++u)
        if (u % kWidth < kLanes)
          body.walk(n, Path::of(region, i), region.x.first + x,
                    Comb<kColumns>{region.u.first + u, region.u.first + region.u.count});
}

template <class Body>
void run_sample(const Body& body, int32_t n) {
  if constexpr (Body::shape == Shape::paths) {
    with_columns(body.region, [&](auto columns) { run_paths<columns.count>(body, n); });
  } else if constexpr (Body::shape == Shape::octets) {
    const Region& region = body.region;
    for (int32_t i = 0; i < Path::count(region); ++i)
      for (int32_t x = 0; x < region.x.count; x += kPixelsAcross<Body>)
        for (int32_t u = 0; u < region.u.count; u += kOctet)
          body.walk(n, Path::of(region, i), region.x.first + x, u);
  } else if constexpr (Body::shape == Shape::points) {
    for (int32_t row = 0; row < body.rows(); ++row)
      for (int32_t column = 0; column < body.columns(); ++column) body(n, row, column);
  } else if constexpr (Body::shape == Shape::rows) {
    for (int32_t row = 0; row < body.rows(); ++row) body(n, row, SingleLane{});
  } else if constexpr (Body::shape == Shape::marches) {
    HostBlock block(body.tiles.shape);
    for (int32_t i = 0; i < body.marches(); ++i) {
      block.reset();
      body.march(block, n, i);
    }
  } else {
    for (int64_t i = 0; i < body.items; ++i) body(n, i);
  }
}

}  // namespace

template <class Body>
void loop(const Body& body) {
  for (int32_t n = 0; n < body.samples; ++n) run_sample(body, n);
}

#define CA_LOOP(...) template void loop(const __VA_ARGS__&);
CA_FOR_EACH_BODY(CA_LOOP)
CA_FOR_EACH_MARCH(CA_LOOP)
#undef CA_LOOP

}  // namespace contextual_attention::cuda
