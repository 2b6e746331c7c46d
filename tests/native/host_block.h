// A block of threads on the host: what each of them does from one meeting to the next, one after the other;
// what they do together as the device does it, by the layouts of its instructions.
#pragma once

#include <cstring>
#include <stdexcept>
#include <vector>

#include "cuda/gram_sums.h"
#include "cuda_runtime.h"

namespace contextual_attention::cuda {

// A warp's products, all lanes at once.
class HostWarp {
 public:
  struct Fragment {
    uint32_t words[kLanes][4];
  };

  HostWarp(GramLane* lanes, const std::vector<char>& shared) : lanes_(lanes), shared_(shared) {}
  int32_t down() const { return lanes_->warp_down; }
  int32_t across() const { return lanes_->warp_across; }

  // ldmatrix .x4: matrix i's row r lies where lane 8 i + r says; of it lane 4 r + c has the pair c.
  template <class Place>
  Fragment load(const Place& place) const {
    Fragment fragment;
    for (int32_t lane = 0; lane < kLanes; ++lane)
      for (int32_t i = 0; i < 4; ++i)
        std::memcpy(&fragment.words[lane][i], row(place(8 * i + lane / 4)) + lane % 4 * 4, 4);
    return fragment;
  }

  // mma m16n8k16, with rows by columns.
  template <class T, bool kFresh>
  void multiply(int32_t m, int32_t n, const Fragment& rows, const Fragment& columns) const {
    float a[16][16], b[8][16];
    for (int32_t lane = 0; lane < kLanes; ++lane) {
      const int32_t line = lane / 4, k = lane % 4 * 2;
      const uint32_t *of_rows = rows.words[lane], *of_columns = columns.words[lane] + n % 2 * 2;
      for (int32_t i = 0; i < 4; ++i) spread<T>(of_rows[i], a[line + i % 2 * 8] + k + i / 2 * 8);
      for (int32_t i = 0; i < 2; ++i) spread<T>(of_columns[i], b[line] + k + i * 8);
    }
    for (int32_t lane = 0; lane < kLanes; ++lane)
      for (int32_t i = 0; i < 4; ++i) {
        float& product = lanes_[lane].products[m][n][i];
        float sum = kFresh ? 0.0f : product;
        const float *row = a[lane / 4 + i / 2 * 8], *column = b[lane % 4 * 2 + i % 2];
        for (int32_t k = 0; k < 16; ++k) sum += row[k] * column[k];
        product = sum;
      }
  }

 private:
  const char* row(int32_t place) const {
    if (place < 0 || place % 16 != 0 || size_t(place) + 16 > shared_.size())
      throw std::runtime_error("a fragment's row lies outside of the shared memory, or on no vector");
    return shared_.data() + place;
  }
  template <class T>
  static void spread(uint32_t word, float* pair) {
    unpack(word, static_cast<const T*>(nullptr), pair[0], pair[1]);
  }

  GramLane* lanes_;
  const std::vector<char>& shared_;
};

class HostBlock {
 public:
  explicit HostBlock(const GramShape& shape) : shared_(shape.bytes()), lanes_(shape.threads()) {}
  // To what a block begins with: anything, here NaN.
  void reset() {
    std::memset(shared_.data(), 0xff, shared_.size());
    std::memset(static_cast<void*>(lanes_.data()), 0xff, lanes_.size() * sizeof(GramLane));
    copies_.clear();
    groups_.clear();
  }

  template <class Work>
  void each(const Work& work) {
    const auto count = int32_t(lanes_.size());
    for (int32_t i = 0; i < count; ++i) {
      const int32_t thread = emulator::settings.backwards ? count - 1 - i : i;
      work(thread, lanes_[thread]);
    }
  }
  template <class Work>
  void warps(const Work& work) {
    for (size_t first = 0; first < lanes_.size(); first += kLanes) {
      HostWarp warp(&lanes_[first], shared_);
      work(warp);
    }
  }
  March& march() { return march_; }
  float* floats(int32_t offset) { return reinterpret_cast<float*>(shared_.data() + offset); }

  // As late as it may be: until then there is NaN.
  void copy(int32_t to, const void* from, bool exists) {
    if (to < 0 || to % 16 != 0 || size_t(to) + 16 > shared_.size())
      throw std::runtime_error("a copy leads out of the shared memory, or to no vector");
    if (exists && reinterpret_cast<uintptr_t>(from) % 16 != 0)
      throw std::runtime_error("a copy of what begins within a vector");
    std::memset(shared_.data() + to, 0xff, 16);
    copies_.push_back({to, exists ? from : nullptr});
  }
  void commit() {
    groups_.push_back(copies_);
    copies_.clear();
  }
  void await() {
    while (groups_.size() > kStages - 2) {
      for (const Copy& copy : groups_.front()) {
        const char zeros[16] = {};
        std::memcpy(shared_.data() + copy.to, copy.from ? copy.from : zeros, 16);
      }
      groups_.erase(groups_.begin());
    }
  }
  void sync() const {}

 private:
  struct Copy {
    int32_t to;
    const void* from;  // none: zeros
  };

  March march_;
  std::vector<char> shared_;
  std::vector<GramLane> lanes_;
  std::vector<Copy> copies_;
  std::vector<std::vector<Copy>> groups_;
};

}  // namespace contextual_attention::cuda
