// D_3 of the products of features, which are made on the way: the Gram matrix is never in memory.
//
// A block of threads has a tile of columns (x, u) and marches down a diagonal of rows of both maps. It
// fetches the features of rows to come while it multiplies those of one, adds to each product its neighbours
// at (x - 1, u - 1) and (x + 1, u + 1), which other lanes may have, and keeps the sums of the two rows
// before.
//
// What the threads of a block do together is the block's: the device's (gram_sums.cu) or, for the tests, the
// host's (tests/native/host_block.h). Here stands what each of them does from one meeting to the next.
#pragma once

#include "gram_tiles.h"
#include "octet_sums.h"

namespace contextual_attention::cuda {

// Features of pixels, `depth` of each.
template <class T>
struct Features {
  const T* data;
  int32_t height, width, depth;

  CA_BOTH const T* at(int32_t n, int32_t row, int32_t column) const {
    return data + ((int64_t(n) * height + row) * width + column) * depth;
  }
};

// What has been worked out is so at this place: a compiler that moves it on, or loads what comes next before,
// runs out of registers.
CA_BOTH void settle(Octet& octet) {
#if defined(__CUDA_ARCH__)
  CA_UNROLL
  for (int32_t k = 0; k < kOctet; ++k) asm volatile("" : "+f"(octet.of[k])::"memory");
#endif
}

// A lane's place among the scores of its block, and what it keeps of its own.
struct GramLane {
  int32_t warp_down, warp_across, lane;
  uint32_t owned;                                  // a bit for each pixel of both groups: it has sums
  float products[kDown][kAcross][4];               // of the fragments
  Octet two[kHalves][kDown], one[kHalves][kDown];  // sums along the last two rows, along the last one

  CA_BOTH int32_t group(int32_t half) const {
    return warp_down * kFragmentRows + lane / 4 + half * kGroupsApart;
  }
  CA_BOTH int32_t octet() const { return warp_across * kAcross + lane % 4; }
  CA_BOTH float product(int32_t half, int32_t m, int32_t k) const {
    return products[m][k / 2][2 * half + k % 2];
  }
};

// What lanes tell each other of their products, with zeros around: those of the maps' ends.
struct GramEdges {
  float* floats;
  GramShape shape;

  struct alignas(8) Pair {
    float first, second;
  };

  // The last pixels of the groups, and the first ones.
  CA_BOTH float* bottom(int32_t group, int32_t octet) const {
    return floats + (group + 1) * kEdgeLine + 2 * octet;
  }
  CA_BOTH float* top(int32_t group, int32_t octet) const {
    return floats + shape.lines() + group * kEdgeLine + 2 * octet;
  }
  CA_BOTH static Pair& pair(float* octet, int32_t i) {
    return *reinterpret_cast<Pair*>(octet + i * kEdgePairs);
  }
  CA_BOTH static Octet get(float* from) {
    Octet octet;
    CA_UNROLL
    for (int32_t i = 0; i < kOctet / 2; ++i) {
      const Pair both = pair(from, i);
      octet[2 * i] = both.first, octet[2 * i + 1] = both.second;
    }
    return octet;
  }
  // The last columns of the octets, and the first ones, at pixel m of a group.
  CA_BOTH float& right(int32_t group, int32_t octet, int32_t m) const {
    return floats[2 * shape.lines() + ((group + 1) * kDown + m) * kEdgeStrip + octet + 1];
  }
  CA_BOTH float& left(int32_t group, int32_t octet, int32_t m) const {
    return floats[2 * shape.lines() + shape.strips() + (group * kDown + m) * kEdgeStrip + octet];
  }
};

template <class T, class Sink>
struct GramSums3 {
  static constexpr Shape shape = Shape::marches;
  Features<T> foreground, background;
  Sink sink;
  Region region;
  int32_t samples;
  GramTiles tiles;

  CA_BOTH int64_t marches() const { return tiles.marches(region); }

  template <class Block>
  CA_BOTH void march(Block& block, int32_t n, int32_t i) const {
    const March found = tiles.march(region, sink.out.line, i);
    if (found.count <= 0) return;
    // Where it takes no registers: there is hardly one to spare.
    March& m = block.march();
    const GramEdges edges{block.floats(kStages * tiles.shape.stage_bytes()), tiles.shape};
    block.each([&](int32_t thread, GramLane& lane) {
      if (thread == 0) m = found;
      begin(found, edges, thread, lane);
    });
    block.sync();
    Fetch fetch{m.begin, 0};
    for (int32_t stage = 0; stage + 1 < kStages; ++stage) start(block, m, n, stage, fetch);
    int32_t first = 0, stage = 0;
    for (int32_t row = m.begin; row < m.end;) {
      block.await();
      // Where the last products' features were.
      start(block, m, n, stage > 0 ? stage - 1 : kStages - 1, fetch);
      block.warps([&](auto& warp) { multiply(warp, stage * tiles.shape.stage_bytes(), first); });
      stage = stage + 1 < kStages ? stage + 1 : 0;
      first += kChunk;
      if (first < foreground.depth) continue;
      first = 0;
      block.each([&](int32_t, GramLane& lane) { tell(edges, lane); });
      block.sync();
      block.each([&](int32_t, GramLane& lane) { add(edges, m, n, row, lane); });
      ++row;
    }
    if (m.ends) block.each([&](int32_t, GramLane& lane) { finish(m, n, lane); });
  }

 private:
  // What is fetched next: channels from `first` on.
  struct Fetch {
    int32_t row, first;
  };

  CA_BOTH void begin(const March& march, const GramEdges& edges, int32_t thread, GramLane& lane) const {
    const int32_t warp = thread / kLanes;
    lane.warp_down = warp % tiles.shape.down, lane.warp_across = warp / tiles.shape.down;
    lane.lane = thread % kLanes;
    lane.owned = 0;
    const int32_t u = march.u + lane.octet() * kOctet;
    CA_UNROLL
    for (int32_t half = 0; half < kHalves; ++half) {
      CA_UNROLL
      for (int32_t m = 0; m < kDown; ++m) {
        lane.two[half][m] = lane.one[half][m] = Octet{};
        const int32_t x = march.x + lane.group(half) * kDown + m;
        const bool has_sums = x >= march.x_first && x < march.x_end && u >= march.u_first && u < march.u_end;
        lane.owned |= uint32_t(has_sums) << (half * kDown + m);
      }
    }
    for (int32_t i = thread; i < tiles.shape.edge_floats(); i += tiles.shape.threads()) edges.floats[i] = 0;
  }

  // Fetches some channels of a row's pixels, if there are more.
  template <class Block>
  CA_BOTH void start(Block& block, const March& m, int32_t n, int32_t stage, Fetch& fetch) const {
    if (fetch.row < m.end) {
      const int32_t to = stage * tiles.shape.stage_bytes();
      block.each([&](int32_t thread, GramLane&) {
        copy<true>(block, thread, foreground.at(n, m.y + fetch.row, m.x) + fetch.first,
                   foreground.width - m.x, tiles.shape.x(), fetch.first, to);
        copy<false>(block, thread, background.at(n, m.v + fetch.row, m.u) + fetch.first,
                    background.width - m.u, tiles.shape.u(), fetch.first, to + tiles.shape.x() * kPixelBytes);
      });
      fetch.first += kChunk;
      if (fetch.first >= foreground.depth) fetch.first = 0, ++fetch.row;
    }
    block.commit();
  }

  // A row's pixels, four at once by each warp; zeros for those that the map does not have, and for channels
  // up to as many as fragments multiply.
  template <bool kOfForeground, class Block>
  CA_BOTH void copy(Block& block, int32_t thread, const T* row, int32_t exist, int32_t count, int32_t channel,
                    int32_t to) const {
    const int32_t vector = thread % 8, step = tiles.shape.threads() / 8;
    channel += vector * kVector;
    if (channel >= (foreground.depth + kTerms - 1) / kTerms * kTerms) return;
    if (channel >= foreground.depth) exist = 0;
    const T* from = row + thread / 8 * foreground.depth + vector * kVector;
    CA_NO_UNROLL
    for (int32_t pixel = thread / 8; pixel < count; pixel += step, from += step * foreground.depth) {
      const int32_t line = kOfForeground ? row_of_fragment(pixel) : column_of_fragment(pixel);
      block.copy(to + place(pixel, line, vector), from, pixel < exist);
    }
  }

  // Channels of a product of fragments.
  static constexpr int32_t kTerms = 16;

  // Which line of a fragment a pixel is, up to multiples of eight.
  CA_BOTH static int32_t row_of_fragment(int32_t pixel) { return uint32_t(pixel) / kDown; }
  CA_BOTH static int32_t column_of_fragment(int32_t pixel) {
    return uint32_t(pixel) / kOctet * 2 + pixel % 2u;
  }
  // And which pixel is a line of fragment m, or n.
  CA_BOTH static int32_t pixel_of_row(int32_t m, int32_t line) { return line * kDown + m; }
  CA_BOTH static int32_t pixel_of_column(int32_t n, int32_t line) {
    return line / 2 * kOctet + 2 * n + line % 2;
  }

  // Where a vector of a pixel's features lies: of eight lines of a fragment each in other banks.
  CA_BOTH static int32_t place(int32_t pixel, int32_t line, int32_t vector) {
    return pixel * kPixelBytes + (vector ^ (line & 7)) * int32_t(sizeof(Vector));
  }
  // From there to the same place of so many products further: what `place` swaps are bits.
  CA_BOTH static int32_t further(int32_t place, int32_t products) { return place ^ products * kTerms * 2; }

  template <class Warp>
  CA_BOTH void multiply(Warp& warp, int32_t stage, int32_t first) const {
    const int32_t rows_at = stage + warp.down() * kWarpDown * kPixelBytes;
    const int32_t columns_at = stage + (tiles.shape.x() + warp.across() * kWarpAcross) * kPixelBytes;
    CA_NO_UNROLL
    for (int32_t k = 0; k < kChunk / kTerms; ++k) {
      if (first + k * kTerms >= foreground.depth) break;
      typename Warp::Fragment columns[kAcross / 2];
      CA_UNROLL
      for (int32_t i = 0; i < kAcross / 2; ++i)
        columns[i] = warp.load([&](int32_t lane) {
          const int32_t line = lane % 8, pixel = pixel_of_column(lane / 16, line);
          return further(columns_at + place(pixel, line, lane / 8 % 2), k) +
                 pixel_of_column(2 * i, 0) * kPixelBytes;
        });
      // The first products have nothing to be added to.
      if (k == 0 && first == 0)
        multiply_rows<true>(warp, rows_at, k, columns);
      else
        multiply_rows<false>(warp, rows_at, k, columns);
    }
  }
  template <bool kFresh, class Warp>
  CA_BOTH void multiply_rows(Warp& warp, int32_t rows_at, int32_t k,
                             const typename Warp::Fragment (&columns)[kAcross / 2]) const {
    CA_UNROLL
    for (int32_t m = 0; m < kDown; ++m) {
      const typename Warp::Fragment rows = warp.load([&](int32_t lane) {
        const int32_t line = lane % 16;
        return further(rows_at + place(pixel_of_row(0, line), line, lane / 16), k) + m * kPixelBytes;
      });
      CA_UNROLL
      for (int32_t n = 0; n < kAcross; ++n) warp.template multiply<T, kFresh>(m, n, rows, columns[n / 2]);
    }
  }

  CA_BOTH void tell(const GramEdges& edges, const GramLane& lane) const {
    const int32_t octet = lane.octet();
    CA_UNROLL
    for (int32_t half = 0; half < kHalves; ++half) {
      const int32_t group = lane.group(half);
      float *top = edges.top(group, octet), *bottom = edges.bottom(group, octet);
      CA_UNROLL
      for (int32_t i = 0; i < kOctet / 2; ++i) {
        edges.pair(top, i) = {lane.product(half, 0, 2 * i), lane.product(half, 0, 2 * i + 1)};
        edges.pair(bottom, i) = {lane.product(half, kDown - 1, 2 * i),
                                 lane.product(half, kDown - 1, 2 * i + 1)};
      }
      CA_UNROLL
      for (int32_t m = 0; m < kDown; ++m) {
        edges.left(group, octet, m) = lane.product(half, m, 0);
        edges.right(group, octet, m) = lane.product(half, m, kOctet - 1);
      }
    }
  }

  // A row of products to the sums; those of the row before are complete then.
  CA_BOTH void add(const GramEdges& edges, const March& march, int32_t n, int32_t row, GramLane& lane) const {
    const Out out(*this, march, n, row - 1, lane);
    CA_UNROLL
    for (int32_t half = 0; half < kHalves; ++half) {
      CA_UNROLL
      for (int32_t m = 0; m < kDown; ++m) {
        const Octet newest = along_row(edges, lane, half, m);
        Octet &two = lane.two[half][m], &one = lane.one[half][m];
        // Asked each time, or one pixel after the other would be on its way: for all there are no registers.
        if (row > 0) out.put(half, m, sum_of(two, newest));
        two = sum_of(one, newest);
        one = newest;
        settle(two), settle(one);
      }
    }
  }

  // At (x - 1, u - 1), (x, u), (x + 1, u + 1).
  CA_BOTH Octet along_row(const GramEdges& edges, const GramLane& lane, int32_t half, int32_t m) const {
    const int32_t group = lane.group(half), octet = lane.octet();
    const bool is_first = m == 0, is_last = m == kDown - 1;
    Octet left, right;
    if (is_first) {
      left = edges.get(edges.bottom(group - 1, octet));
    } else {
      CA_UNROLL
      for (int32_t k = 0; k < kOctet; ++k) left[k] = lane.product(half, is_first ? 0 : m - 1, k);
    }
    if (is_last) {
      right = edges.get(edges.top(group + 1, octet));
    } else {
      CA_UNROLL
      for (int32_t k = 0; k < kOctet; ++k) right[k] = lane.product(half, is_last ? 0 : m + 1, k);
    }
    const float before =
        is_first ? edges.right(group - 1, octet - 1, kDown - 1) : edges.right(group, octet - 1, m - 1);
    const float behind = is_last ? edges.left(group + 1, octet + 1, 0) : edges.left(group, octet + 1, m + 1);
    Octet sums;
    CA_UNROLL
    for (int32_t k = 0; k < kOctet; ++k)
      sums[k] = lane.product(half, m, k) + (k == 0 ? before : left.of[k > 0 ? k - 1 : 0]) +
                (k + 1 == kOctet ? behind : right.of[k + 1 < kOctet ? k + 1 : k]);
    return sums;
  }

  // The sums of a march's last row, below which the maps have none.
  CA_BOTH void finish(const March& march, int32_t n, const GramLane& lane) const {
    const Out out(*this, march, n, march.end - 1, lane);
    CA_UNROLL
    for (int32_t half = 0; half < kHalves; ++half) {
      CA_UNROLL
      for (int32_t m = 0; m < kDown; ++m) out.put(half, m, lane.two[half][m]);
    }
  }

  // Where a lane's sums of a row go.
  class Out {
   public:
    CA_BOTH Out(const GramSums3& body, const March& march, int32_t n, int32_t row, const GramLane& lane)
        : Out(body, n, march.y + row, march.x + lane.group(0) * kDown, march.v + row,
              march.u + lane.octet() * kOctet, row >= 0 ? lane.owned : 0) {}
    CA_BOTH void put(int32_t half, int32_t m, const Octet& sums) const {
      const int32_t aside = half * kGroupsApart * kDown + m;
      const bool is_owned = owned_ >> (half * kDown + m) & 1;
      const auto entries = Sink::made_of(sums, pixels_.at(aside, is_owned), columns_);
      if (is_owned) store(at_ + aside * pitch_, entries);
    }

   private:
    CA_BOTH Out(const GramSums3& body, int32_t n, int32_t y, int32_t x, int32_t v, int32_t u, uint32_t owned)
        : owned_(owned),
          at_(body.sink.out.at(n, y, x, v, u)),
          pitch_(body.sink.out.pitch),
          pixels_(body.sink, n, y, x),
          columns_(owned ? *body.sink.columns(n, v, u) : Octet{}) {}

    uint32_t owned_;
    typename Sink::Entry* at_;
    int64_t pitch_;
    typename Sink::Pixels pixels_;
    typename Sink::Columns columns_;
  };
};

// Every one that the pipeline runs.
#define CA_FOR_EACH_MARCH(X)                     \
  X(GramSums3<Bfloat16, WeightOctets<Bfloat16>>) \
  X(GramSums3<Bfloat16, WeightOctets<Float16>>)  \
  X(GramSums3<Float16, WeightOctets<Float16>>)   \
  X(GramSums3<Bfloat16, SimilarityOctets>)       \
  X(GramSums3<Float16, SimilarityOctets>)

}  // namespace contextual_attention::cuda
