// D_3 and its wrapped double pass by octets: OctetSum3<where the lines come from, what becomes of the sums>.
#pragma once

#include "half_pairs.h"
#include "octets.h"
#include "sinks.h"
#include "wrapped.h"

namespace contextual_attention::cuda {

// What a row of the window is made of: scores at (x - 1, u - 1), (x, u), (x + 1, u + 1) and so on. A factor
// is 0 for what the maps do not have, else 1; numbers in its place are those of another row of the window.
struct OctetRow {
  Octet left, middle, right;
  float before, behind;  // beside the octets
  float has_left, has_right;

  // `last`: the column that `behind` is right of.
  CA_BOTH Octet sums(int32_t last) const {
    Octet sums;
    CA_UNROLL
    for (int32_t k = 0; k < kOctet; ++k) {
      const float on_left = k > 0 ? left.of[k > 0 ? k - 1 : 0] : before;
      const float on_right = k == last || k + 1 == kOctet ? behind : right.of[k + 1 < kOctet ? k + 1 : k];
      sums[k] = middle[k] + has_left * on_left + has_right * on_right;
    }
    return sums;
  }
};

// Scores, and zeros around the maps.
struct PlainOctets {
  Lines<const float> scores;

  class Reader {
   public:
    // From the row before (y, v) on.
    CA_BOTH Reader(const PlainOctets& source, const Region& region, int32_t n, int32_t y, int32_t x,
                   int32_t v, int32_t u)
        : rows_(source.scores.y, y, region.v.size, v, 1),
          has_left_(x > 0),
          has_right_(x + 1 < region.x.size),
          has_before_(has_left_ && u > 0),
          has_behind_(has_right_ && u + kOctet < region.u.size),
          pitch_(source.scores.pitch),
          down_(source.scores.down()),
          here_(source.scores.at(n, rows_.y(), x, rows_.v(), u)) {}

    CA_BOTH static constexpr int32_t last() { return kOctet - 1; }
    CA_BOTH OctetRow next() {
      const float *left = has_left_ ? here_ - pitch_ : here_, *right = has_right_ ? here_ + pitch_ : here_;
      const OctetRow row{load_octet(left),
                         load_octet(here_),
                         load_octet(right),
                         has_before_ ? load(left - 1) : 0.0f,
                         has_behind_ ? load(right + kOctet) : 0.0f,
                         has_left_ ? 1.0f : 0.0f,
                         has_right_ ? 1.0f : 0.0f};
      if (rows_.next()) here_ += down_;
      return row;
    }

   private:
    RowsOfBoth rows_;
    bool has_left_, has_right_, has_before_, has_behind_;
    int64_t pitch_, down_;
    const float* here_;
  };
  // The row before the first or behind the last one of a map.
  CA_BOTH Octet beyond(const Region&, int32_t, int32_t, int32_t, int32_t, int32_t) const { return {}; }
};

// Similarities of both maps, whose propagation runs over the ends of rows and columns; of the background,
// all.
struct WrappedOctets {
  using Position = WrappedPixels::Position;

  // In lines: a row of the background's only piece is one.
  WrappedPixels pixels;

  CA_BOTH int32_t line() const { return pixels.background.pieces[0].columns.count; }

  class Reader {
   public:
    CA_BOTH Reader(const WrappedOctets& source, const Region& region, int32_t n, int32_t y, int32_t x,
                   int32_t v, int32_t u)
        : rows_(source.pixels.foreground.of(0, 0).rows, y, region.v.size, v, 1),
          left_(source, n, rows_, x, u, -1),
          middle_(source, n, rows_, x, u, 0),
          right_(source, n, rows_, x, u, 1),
          // A line's end goes on in the row of the background above or below.
          before_(u > 0 ? -1 : region.u.size - 1 - source.line()),
          behind_(u + kOctet < region.u.size ? kOctet : source.line() - u),
          last_(region.u.size - 1 - u < kOctet ? region.u.size - 1 - u : kOctet - 1),
          y_(rows_.y()),
          v_(rows_.v()),
          has_left_from_(x > 0 ? 0 : 1),
          has_right_to_(x + 1 < region.x.size ? region.y.size : region.y.size - 1),
          has_before_from_(u > 0 ? 0 : 1),
          has_behind_to_(u + kOctet < region.u.size ? region.v.size : region.v.size - 1) {}

    CA_BOTH int32_t last() const { return last_; }
    CA_BOTH OctetRow next() {
      const bool has_left = y_ >= has_left_from_, has_right = y_ < has_right_to_;
      const float *left = has_left ? left_.at : middle_.at, *right = has_right ? right_.at : middle_.at;
      const OctetRow row{load_octet(left),
                         load_octet(middle_.at),
                         load_octet(right),
                         has_left && v_ >= has_before_from_ ? load(left + before_) : 0.0f,
                         has_right && v_ < has_behind_to_ ? load(right + behind_) : 0.0f,
                         has_left ? 1.0f : 0.0f,
                         has_right ? 1.0f : 0.0f};
      if (rows_.next()) ++y_, ++v_, left_.next(), middle_.next(), right_.next();
      return row;
    }

   private:
    // Down the octets of a pixel aside.
    struct Tap {
      const float* at;
      int64_t down;

      CA_BOTH Tap(const WrappedOctets& source, int32_t n, const RowsOfBoth& rows, int32_t x, int32_t u,
                  int32_t aside) {
        const WrappedPixels::Pair pair =
            source.pixels.pair(n, Position{rows.y(), x, 0}, Position{rows.v(), u, 0}, aside, 0);
        at = pair.score, down = pair.down;
      }
      CA_BOTH void next() { at += down; }
    };

    RowsOfBoth rows_;
    Tap left_, middle_, right_;
    int32_t before_, behind_, last_;
    int32_t y_, v_;  // of the row to read, and at which rows those aside exist
    int32_t has_left_from_, has_right_to_, has_before_from_, has_behind_to_;
  };
  // The row of sums before the first or behind the last one of a map.
  CA_BOTH Octet beyond(const Region& region, int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    // Lines without padding follow each other as a row goes on behind its end.
    return line() == region.u.size ? octet_beyond(region, n, y, x, v, u)
                                   : columns_beyond(region, n, y, x, v, u);
  }

 private:
  CA_BOTH Octet octet_beyond(const Region& region, int32_t n, int32_t y, int32_t x, int32_t v,
                             int32_t u) const {
    Octet sums{};
    Position p{y, x, 0};
    if (!WrappedPixels::goes_on(p, region.y, region.x)) return sums;
    // Over the end of a column of the background it goes on in the next one.
    const int32_t aside = v < 0 ? -1 : v >= region.v.size ? 1 : 0, row = v - aside * region.v.size;
    CA_UNROLL
    for (int32_t tap = -1; tap <= 1; ++tap) {
      const WrappedPixels::Pair pair = pixels.pair(n, p, Position{row, u, 0}, tap, 0);
      if (!region.y.inside(pair.p.y)) continue;
      // The columns u - 2 ... u + 9.
      float columns[kOctet + 4] = {};
      const Octet own = load_octet(pair.score);
      CA_UNROLL
      for (int32_t k = 0; k < kOctet; ++k) columns[k + 2] = own[k];
      if (row > 0 || u > 0) columns[0] = load(pair.score - 2), columns[1] = load(pair.score - 1);
      if (row + 1 < region.v.size || u + kOctet < region.u.size)
        columns[kOctet + 2] = load(pair.score + kOctet), columns[kOctet + 3] = load(pair.score + kOctet + 1);
      CA_UNROLL
      for (int32_t k = 0; k < kOctet; ++k) {
        const int32_t at = k + 2 + tap;
        sums[k] += aside == 0 ? columns[at] : aside < 0 ? columns[at - 1] : columns[at + 1];
      }
    }
    if (aside < 0 && u == 0) sums[0] = 0;
    if (aside > 0 && u + kOctet == region.u.size) sums[kOctet - 1] = 0;
    return sums;
  }
  CA_BOTH Octet columns_beyond(const Region& region, int32_t n, int32_t y, int32_t x, int32_t v,
                               int32_t u) const {
    Octet sums{};
    CA_NO_UNROLL
    for (int32_t i = 0; i < kOctet && u + i < region.u.size; ++i) {
      const float sum = pixels.beyond(n, Position{y, x, 0}, Position{v, u + i, 0});
      // By constant indices: an octet lies in registers.
      CA_UNROLL
      for (int32_t k = 0; k < kOctet; ++k) sums[k] = k == i ? sum : sums[k];
    }
    return sums;
  }
};

// Sums of three rows each, down a path.
template <class Source, class Sink>
struct OctetSum3 {
  static constexpr Shape shape = Shape::octets;
  Source source;
  Sink sink;
  Region region;
  int32_t samples;

  CA_BOTH void walk(int32_t n, const Path& path, int32_t x, int32_t u) const {
    const int32_t y = region.y.first + path.y, v = region.v.first + path.v;
    const bool begins = y == 0 || v == 0;
    const bool ends = y + path.length == region.y.size || v + path.length == region.v.size;
    typename Source::Reader reader(source, region, n, y, x, v, u);
    Octet two = reader.next().sums(reader.last());
    if (begins) two = source.beyond(region, n, y - 1, x, v - 1, u);
    Octet here = reader.next().sums(reader.last());
    two = sum_of(two, here);
    OctetRow coming = reader.next();
    typename Sink::Walk out(sink, n, y, x, v, u);
    const int32_t inner = path.length - ends;
    CA_UNROLL_TWICE
    for (int32_t i = 0; i < inner; ++i) {
      const Octet below = coming.sums(reader.last());
      // On its way while this row is worked on.
      coming = reader.next();
      out.put(sum_of(two, below));
      out.next();
      two = sum_of(here, below);
      here = below;
    }
    if (ends) out.put(sum_of(two, source.beyond(region, n, y + path.length, x, v + path.length, u)));
  }
};

// Factors of the background's columns, in lines: those of a sample.
struct ColumnWalk {
  const float* here;
  int32_t line;

  CA_BOTH Octet operator*() const { return load_octet(here); }
  CA_BOTH void next() { here += line; }
};

// What lies there, if it is needed, else 0: without a branch, which would part what a lane has on its way.
CA_BOTH float load_if(bool is_needed, const float* at) {
#if defined(__CUDA_ARCH__)
  float value = 0;
  asm volatile("{ .reg .pred needed; setp.ne.b32 needed, %2, 0; @needed ld.global.nc.f32 %0, [%1]; }"
               : "+f"(value)
               : "l"(at), "r"(int32_t(is_needed)));
  return value;
#else
  return is_needed ? *at : 0.0f;
#endif
}
CA_BOTH uint32_t load_if(bool is_needed, const bool* at) {
#if defined(__CUDA_ARCH__)
  uint32_t value = 0;
  asm volatile("{ .reg .pred needed; setp.ne.b32 needed, %2, 0; @needed ld.global.nc.u8 %0, [%1]; }"
               : "+r"(value)
               : "l"(at), "r"(int32_t(is_needed)));
  return value;
#else
  return is_needed && *at;
#endif
}

// A walk down the octets of a sink whose values have a factor for each pixel and for each column.
template <class Sink>
struct OctetWalk {
  typename Sink::Entry* at;
  int64_t down;
  typename Sink::Pixels pixels;
  ColumnWalk columns;

  CA_BOTH OctetWalk(const Sink& sink, int32_t n, int32_t y, int32_t x, int32_t v, int32_t u)
      : at(sink.out.at(n, y, x, v, u)),
        down(sink.out.down()),
        pixels(sink, n, y, x),
        columns(sink.columns(n, v, u)) {}
  CA_BOTH void put(const Octet& sums) const { store(at, Sink::made_of(sums, pixels.at(0, true), *columns)); }
  CA_BOTH void next() {
    at += down;
    pixels.next();
    columns.next();
  }
};

// Similarities: alpha[p] beta[q] times the sums.
struct SimilarityOctets {
  using Entry = float;
  using Pixel = float;    // alpha
  using Columns = Octet;  // beta
  // Of the pixels beside one of a row.
  struct Pixels {
    PixelWalk<const float> alpha;

    CA_BOTH Pixels(const SimilarityOctets& sink, int32_t n, int32_t y, int32_t x)
        : alpha(sink.alpha, n, y, x) {}
    CA_BOTH float at(int32_t aside, bool exists) const {
      return alpha ? load_if(exists, alpha.here + aside) : 1.0f;
    }
    CA_BOTH void next() { alpha.next(); }
  };

  Lines<float> out;
  PixelMap<const float> alpha;  // none: 1
  const float* beta;            // (samples, hb, line)
  int32_t height;               // hb

  CA_BOTH ColumnWalk columns(int32_t n, int32_t v, int32_t u) const {
    return {beta + (int64_t(n) * height + v) * out.line + u, out.line};
  }
  CA_BOTH static Octet made_of(const Octet& sums, float of_row, const Columns& column) {
    Octet values;
    CA_UNROLL
    for (int32_t k = 0; k < kOctet; ++k) values[k] = sums[k] * of_row * column[k];
    return values;
  }

  using Walk = OctetWalk<SimilarityOctets>;
};

// Logits: scale times the sums, -inf unless p is selected and q is valid.
struct LogitOctets {
  Lines<float> out;
  float scale;
  PixelMap<const bool> selected;  // none: all
  const uint32_t* valid;          // (samples, hb, octets), of BackgroundColumns
  int32_t height, octets;         // hb, those of a line of cells

  struct Walk {
    float* at;
    int64_t down;
    float scale;
    PixelWalk<const bool> selected;
    const uint32_t* valid;
    int32_t octets;

    CA_BOTH Walk(const LogitOctets& sink, int32_t n, int32_t y, int32_t x, int32_t v, int32_t u)
        : at(sink.out.at(n, y, x, v, u)),
          down(sink.out.down()),
          scale(sink.scale),
          selected(sink.selected, n, y, x),
          valid(sink.valid + (int64_t(n) * sink.height + v) * sink.octets + u / kOctet),
          octets(sink.octets) {}
    CA_BOTH void put(const Octet& sums) const {
      const uint32_t counts = !selected || *selected ? load(valid) : 0;
      Octet logits;
      CA_UNROLL
      for (int32_t k = 0; k < kOctet; ++k)
        logits[k] = counts >> place_of_flag(k + 1) & 1 ? sums[k] * scale : -INFINITY;
      store(at, logits);
    }
    CA_BOTH void next() {
      at += down;
      selected.next();
      valid += octets;
    }
  };
};

// Weights of bounded logits: exp(scale alpha[p] beta[q] sum), 0 unless p is selected and q is valid.
template <class T>
struct WeightOctets {
  using Entry = T;
  struct Pixel {
    float factor;
    uint32_t kept;  // all bits, or none
  };
  struct Pixels {
    PixelWalk<const float> alpha;
    PixelWalk<const bool> selected;

    CA_BOTH Pixels(const WeightOctets& sink, int32_t n, int32_t y, int32_t x)
        : alpha(sink.alpha, n, y, x), selected(sink.selected, n, y, x) {}
    CA_BOTH Pixel at(int32_t aside, bool exists) const {
      const bool takes_part = !selected || load_if(exists, selected.here + aside);
      return {load_if(exists, alpha.here + aside), takes_part ? ~0u : 0u};
    }
    CA_BOTH void next() {
      alpha.next();
      selected.next();
    }
  };
  // Factors, and the bits that are kept of two weights each.
  struct Columns {
    Octet factors;
    uint32_t kept[kOctet / 2];

    CA_BOTH Columns(const Octet& gains) : factors(gains) {
      CA_UNROLL
      for (int32_t i = 0; i < kOctet / 2; ++i)
        kept[i] = (gains[2 * i] < 0 ? 0 : 0xffffu) | (gains[2 * i + 1] < 0 ? 0 : 0xffff0000u);
    }
  };

  Lines<T> out;
  PixelMap<const float> alpha;
  PixelMap<const bool> selected;  // none: all
  const float* gains;             // (samples, hb, line), of BackgroundColumns
  int32_t height;                 // hb

  CA_BOTH ColumnWalk columns(int32_t n, int32_t v, int32_t u) const {
    return {gains + (int64_t(n) * height + v) * out.line + u, out.line};
  }
  CA_BOTH static Vector made_of(const Octet& sums, const Pixel& pixel, const Columns& columns) {
    Octet weights;
    CA_UNROLL
    for (int32_t k = 0; k < kOctet; ++k)
      weights[k] = rough_power_of_two(sums[k] * pixel.factor * columns.factors[k]);
    Vector vector = packed(weights, static_cast<const T*>(nullptr));
    // A NaN is dropped, too.
    CA_UNROLL
    for (int32_t i = 0; i < kOctet / 2; ++i) vector.words[i] &= columns.kept[i] & pixel.kept;
    return vector;
  }

  using Walk = OctetWalk<WeightOctets>;
};

}  // namespace contextual_attention::cuda
