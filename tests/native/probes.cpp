// Bodies that write down where kernels.cu's launches call them, and that use the lanes of a warp rightly and
// wrongly.
#include <initializer_list>
#include <string_view>
#include <vector>

#include "cuda/kernels.h"
// No bodies but those below.
#undef CA_FOR_EACH_BODY
#define CA_FOR_EACH_BODY(X)
#include "kernels.emulated.cpp"

namespace contextual_attention::cuda {
namespace {

std::vector<int64_t> visits;

void visit(std::initializer_list<int64_t> place) { visits.insert(visits.end(), place); }

// Every score that its paths lead to.
struct PathProbe {
  static constexpr Shape shape = Shape::paths;
  Region region;
  int32_t samples;

  template <int32_t kColumns>
  void walk(int32_t n, const Path& path, int32_t x, const Comb<kColumns>& comb) const {
    for (int32_t i = 0; i < path.length; ++i)
      for (int32_t k = 0; k < kColumns; ++k)
        if (comb.has(k)) visit({n, path.y + i, x, path.v + i, comb.at(k)});
  }
};

// The first score of every octet, of so many pixels a walk.
template <int32_t kAcross>
struct OctetProbe {
  static constexpr Shape shape = Shape::octets;
  Region region;
  int32_t samples;

  void walk(int32_t n, const Path& path, int32_t x, int32_t u) const {
    for (int32_t i = 0; i < path.length; ++i)
      for (int32_t j = x; j < x + kAcross && j < region.x.count; ++j)
        visit({n, path.y + i, j, path.v + i, u});
  }
};

struct PointProbe {
  static constexpr Shape shape = Shape::points;
  int32_t height, width, samples;

  int32_t rows() const { return height; }
  int32_t columns() const { return width; }
  void operator()(int32_t n, int32_t row, int32_t column) const { visit({n, row, column}); }
};

struct RowProbe {
  static constexpr Shape shape = Shape::rows;
  int32_t height, samples;

  int32_t rows() const { return height; }
  template <class Lanes>
  void operator()(int32_t n, int32_t row, const Lanes& lanes) const {
    visit({n, row, lanes.index});
  }
};

struct ItemProbe {
  static constexpr Shape shape = Shape::items;
  int64_t items;
  int32_t samples;

  void operator()(int32_t n, int64_t i) const { visit({n, i}); }
};

// What the lanes of each row make of a value and an index of theirs; every array is (rows, 32).
struct LaneProbe {
  static constexpr Shape shape = Shape::rows;
  const float* values;
  const int32_t* indices;
  double* sums;
  float *largest, *best;
  int32_t* best_indices;
  int32_t height, samples;

  int32_t rows() const { return height; }
  template <class Lanes>
  void operator()(int32_t, int32_t row, const Lanes& lanes) const {
    const int32_t at = row * Lanes::count + lanes.index;
    sums[at] = lanes.sum(double(values[at]));
    largest[at] = lanes.largest(values[at]);
    best[at] = values[at];
    best_indices[at] = indices[at];
    lanes.best(best[at], best_indices[at]);
    lanes.sync();
  }
};

// Lane 5 of the second row misses an exchange of the others, in one of several ways.
struct MissingLane {
  static constexpr Shape shape = Shape::rows;
  bool leaves, sums_once_more, sums_elsewhere, syncs_instead;
  int32_t samples;

  int32_t rows() const { return 3; }
  template <class Lanes>
  void operator()(int32_t, int32_t row, const Lanes& lanes) const {
    const bool odd = row == 1 && lanes.index == 5;
    if (odd && leaves) return;
    if (odd && sums_once_more) lanes.sum(1.0f);
    if (odd && syncs_instead)
      lanes.sync();
    else if (odd && sums_elsewhere)
      lanes.sum(2.0f);
    else
      lanes.sum(3.0f);
  }
};

}  // namespace

template <int32_t kPixels>
constexpr int32_t kPixelsAcross<OctetProbe<kPixels>> = kPixels;

}  // namespace contextual_attention::cuda

namespace cuda = contextual_attention::cuda;

#define CA_PROBE extern "C" __attribute__((visibility("default")))

// Which blocks the launches that follow run, and in which order.
CA_PROBE void set_blocks(int64_t first, int64_t end, bool backwards) {
  emulator::settings = {backwards, first, end};
}

// The visits since the last call, in their order: `count` numbers, valid until the next call.
CA_PROBE const int64_t* take_visits(int64_t* count) {
  static std::vector<int64_t> taken;
  taken.swap(cuda::visits);
  cuda::visits.clear();
  *count = int64_t(taken.size());
  return taken.data();
}

static cuda::Region whole(int32_t y, int32_t x, int32_t v, int32_t u) {
  const auto all = [](int32_t size) { return cuda::Axis{0, size, size}; };
  return {all(y), all(x), all(v), all(u)};
}

// Each launches a probe: null, or what has gone wrong.
CA_PROBE const char* probe_paths(int32_t samples, int32_t y, int32_t x, int32_t v, int32_t u) {
  return cuda::launch(cuda::PathProbe{whole(y, x, v, u), samples}, nullptr);
}

CA_PROBE const char* probe_octets(int32_t samples, int32_t y, int32_t x, int32_t v, int32_t u) {
  return cuda::launch(cuda::OctetProbe<1>{whole(y, x, v, u), samples}, nullptr);
}

CA_PROBE const char* probe_octets_of_four(int32_t samples, int32_t y, int32_t x, int32_t v, int32_t u) {
  return cuda::launch(cuda::OctetProbe<4>{whole(y, x, v, u), samples}, nullptr);
}

CA_PROBE const char* probe_points(int32_t samples, int32_t rows, int32_t columns) {
  return cuda::launch(cuda::PointProbe{rows, columns, samples}, nullptr);
}

CA_PROBE const char* probe_rows(int32_t samples, int32_t rows) {
  return cuda::launch(cuda::RowProbe{rows, samples}, nullptr);
}

CA_PROBE const char* probe_items(int32_t samples, int64_t items) {
  return cuda::launch(cuda::ItemProbe{items, samples}, nullptr);
}

CA_PROBE const char* probe_lanes(int32_t rows, const float* values, const int32_t* indices, double* sums,
                                 float* largest, float* best, int32_t* best_indices) {
  return cuda::launch(cuda::LaneProbe{values, indices, sums, largest, best, best_indices, rows, 1}, nullptr);
}

CA_PROBE const char* probe_missing_lane(const char* how) {
  const std::string_view way = how;
  return cuda::launch(cuda::MissingLane{way == "leaves", way == "sums once more", way == "sums elsewhere",
                                        way == "syncs instead", 1},
                      nullptr);
}

// Pairs of float16: what half_pairs.h makes of each of `count` triples, a number of words of `made` each.
CA_PROBE void probe_pairs(int64_t count, const uint32_t* triples, uint32_t* made) {
  for (int64_t i = 0; i < count; ++i, triples += 3) {
    const cuda::HalfPair a{triples[0]}, b{triples[1]}, c{triples[2]};
    for (cuda::HalfPair pair :
         {a + b, a * b, multiply_add(a, b, c), twice_first(a), twice_second(a), inner(a, b), firsts(a, b)})
      *made++ = pair.word;
    *made++ = scaled(a, 0.25f, static_cast<const cuda::Float16*>(nullptr));
    *made++ = scaled(a, 0.25f, static_cast<const cuda::Bfloat16*>(nullptr));
  }
}

// Flag i alone, and the mask of flags k and k + 1.
CA_PROBE uint32_t probe_flags(int32_t i, int32_t k) {
  return cuda::kept(1u << cuda::place_of_flag(i), k, {~0u}).word;
}
