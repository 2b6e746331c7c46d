#include "cost.h"

#include <algorithm>

namespace contextual_attention::cuda {
namespace {

// The device as the planner takes it to be: an H100, by what others' products and copies reach on it.
namespace device {
constexpr double kFlops = 790e12;        // of products of bfloat16, a second
constexpr double kInstructions = 30e12;  // of threads, a second
constexpr double kMemory = 3e12;         // bytes a second
constexpr double kCache = 12e12;         // the same within the level 2 cache
// A product is made in squares, each by one multiprocessor. Where squares are few, the sums of each are split
// into parts, into how many at most is a guess: so the product with a value of 512 entries has work for all
// multiprocessors from 1,024 rows on.
constexpr int64_t kSquare = 128, kMultiprocessors = 132, kMostParts = 4;
// Time of the host, which the device waits for where its own work is short: a product goes through torch's
// dispatcher. The two products and six kernels of a tile take 50 us.
constexpr double kProduct = 13e-6, kKernel = 4e-6;
}  // namespace device

// What is read, written and done for a score.
struct Filter {
  double bytes, instructions;
};

// With features of bfloat16; instructions as counted in the compiled kernels (docs/performance.md).
constexpr Filter kWeights{6, 42}, kSimilarities{8, 31}, kPropagation{6, 50}, kPropagationAtOnce{8, 49},
    kPropagationInPasses{16, 600}, kRowSums{3, 12}, kCells{5, 65}, kCentres{12, 60}, kGradients{24, 150};
// What a lane does before it walks down a path, for each of its columns.
constexpr double kStart = 125;
// Entries of features, of the value and of the summed weights; of scores and of what products make.
constexpr double kEntry = 2, kWide = 4;

struct Launches {
  double products, kernels;
};

double seconds_of(const Launches& launches) {
  return launches.products * device::kProduct + launches.kernels * device::kKernel;
}

double count_tiles(const Problem& p, const TileSize& t) {
  return double(ceil_div(p.h, t.y) * ceil_div(p.w, t.x)) * double(ceil_div(p.hb, t.v) * ceil_div(p.wb, t.u));
}

// The device's seconds for the parts of a pass over one tile.
class Tile {
 public:
  Tile(const Problem& p, const Plan& plan, int64_t cache, Pass pass)
      : p_(p),
        tile_(plan.tile),
        stages_(largest_stages(p, plan.tile, pass)),
        scratch_(double(plan.bytes)),
        cache_(double(cache)) {}

  // From the features to the weights, and their sums.
  double weights(bool sums) const {
    const Region& gram = stages_.gram;
    double seconds = product(gram.rows(), gram.columns(), p_.channels,
                             scores(gram, kWide) + rows(gram, p_.channels) + columns(gram, p_.channels));
    if (p_.before()) seconds += filter(kSimilarities, stages_.similarity);
    seconds += filter(to_weights(), stages_.weights);
    return sums ? seconds + filter(kRowSums, stages_.weights) : seconds;
  }

  // The summed weights, times the value.
  double cells() const {
    const Region& cells = stages_.cells;
    return filter(kCells, cells) + product(cells.rows(), p_.value_channels, cells.columns(),
                                           scores(cells, kEntry) + columns(cells, p_.value_channels) +
                                               added_rows(cells, p_.value_channels));
  }

  // The gradient of the summed weights, and the sums behind its centres.
  double centres() const {
    const Region& cells = stages_.cell_gradient;
    return filter(kCentres, cells) +
           product(cells.rows(), cells.columns(), p_.value_channels,
                   scores(cells, kWide) + rows(cells, p_.value_channels) + columns(cells, p_.value_channels));
  }

  // The gradient of the value, and those of the features.
  double gradients() const {
    const Region &cells = stages_.cells, &own = stages_.own;
    return filter(kCells, cells) + filter(kGradients, stages_.product) +
           product(cells.columns(), p_.value_channels, cells.rows(),
                   scores(cells, kEntry) + rows(cells, p_.value_channels) +
                       added_columns(cells, p_.value_channels)) +
           product(own.rows(), p_.channels, own.columns(),
                   scores(own, kEntry) + columns(own, p_.channels) + added_rows(own, p_.channels)) +
           product(own.columns(), p_.channels, own.rows(),
                   scores(own, kEntry) + rows(own, p_.channels) + added_columns(own, p_.channels));
  }

 private:
  const Filter& to_weights() const {
    if (!p_.before()) return kWeights;
    if (!p_.wrap()) return kPropagation;
    return wraps_at_once(p_) ? kPropagationAtOnce : kPropagationInPasses;
  }

  static double count(const Region& region) { return double(region.rows()) * double(region.columns()); }
  double scores(const Region& region, double entry) const { return moved(count(region) * entry, 0); }
  // Bytes that are used again only after all of the scratch and so many others.
  double moved(double bytes, double others) const {
    return bytes / (scratch_ + others <= cache_ ? device::kCache : device::kMemory);
  }

  // What a product reads of a map; packed before that, unless it lies together.
  double rows(const Region& region, int64_t depth) const {
    return read(double(region.rows()) * double(depth), tile_.foreground_lies_together(p_));
  }
  double columns(const Region& region, int64_t depth) const {
    return read(double(region.columns()) * double(depth), tile_.background_lies_together(p_));
  }
  double read(double entries, bool in_place) const {
    return moved((in_place ? 1 : 3) * kEntry * entries, kEntry * entries);
  }
  // What a product writes of a map; added to what is there, unless it is the first there.
  double added_rows(const Region& region, int64_t depth) const {
    const bool is_first = tile_.whole_background(p_) && tile_.foreground_lies_together(p_);
    return moved((is_first ? 1 : 4) * kWide * double(region.rows()) * double(depth), 0);
  }
  double added_columns(const Region& region, int64_t depth) const {
    const bool is_first = tile_.whole_foreground(p_) && tile_.background_lies_together(p_);
    return moved((is_first ? 1 : 4) * kWide * double(region.columns()) * double(depth), 0);
  }

  double filter(const Filter& filter, const Region& region) const {
    const double start = kStart / std::min(stages_.own.y.count, stages_.own.v.count);
    return std::max(scores(region, filter.bytes),
                    count(region) * (filter.instructions + start) / device::kInstructions);
  }

  // (rows x terms) times (terms x columns), where what it moves takes so long.
  static double product(int64_t rows, int64_t columns, int64_t terms, double moving) {
    const int64_t squares = ceil_div(rows, device::kSquare) * ceil_div(columns, device::kSquare);
    const int64_t busy = std::min(squares * device::kMostParts, device::kMultiprocessors);
    const double flop = 2.0 * device::kSquare * device::kSquare * double(squares * terms);
    return std::max(moving, flop / device::kFlops * device::kMultiprocessors / double(busy));
  }

  const Problem& p_;
  const TileSize& tile_;
  const Stages stages_;
  const double scratch_, cache_;
};

}  // namespace

// The launches of a pass over a tile, about: the copies of operands depend on where it lies.
double host_seconds(const Problem& p, const TileSize& tile, bool backward) {
  double seconds = seconds_of(backward ? Launches{5, 18} : Launches{2, 6});
  if (!tile.whole_background(p)) seconds += seconds_of(backward ? Launches{2, 6} : Launches{1, 4});
  return count_tiles(p, tile) * seconds;
}

double estimated_seconds(const Problem& p, const Plan& plan, int64_t cache, bool backward) {
  const bool one_pass = plan.whole_background(p);
  const Tile tile(p, plan, cache, backward ? Pass::backward : Pass::forward);
  double seconds = tile.weights(one_pass) + (backward ? tile.centres() + tile.gradients() : tile.cells());
  if (!one_pass) {
    const Tile before(p, plan, cache, backward ? Pass::centres : Pass::statistics);
    seconds += before.weights(true) + (backward ? before.centres() : 0);
  }
  return host_seconds(p, plan.tile, backward) + count_tiles(p, plan.tile) * seconds;
}

}  // namespace contextual_attention::cuda
