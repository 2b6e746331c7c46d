// One source, compiled once per SIMD level (CA_SIMD_LEVEL) into a namespace of that name.
#include "filters.h"

#ifndef CA_SIMD_LEVEL
#error "CA_SIMD_LEVEL must name the SIMD level that the flags of this compilation select"
#endif

#include "filters_patches.h"

namespace contextual_attention::cpu {
namespace CA_SIMD_LEVEL {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vector __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

typedef int32_t Bits __attribute__((vector_size(kLanes * 4)));

inline Vector load(const float* p) { return *reinterpret_cast<const Vector*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<Vector*>(p) = v; }

// float32 sums run over chunks of this length, the chunks are summed in float64: the error of a row sum
// stays at rounding level however long the row is.
constexpr int64_t kChunk = 512;
constexpr float kSmallestWeight = 1e-30f;
constexpr float kInfinity = __builtin_inff();

// `Count` vectors of the diagonal sum at once, held in registers over all taps.
template <int Count>
inline void gather_taps(Vector* sums, const Tap* taps, int count, int64_t at, float scale,
                        const float* gain) {
#pragma GCC unroll 4
  for (int k = 0; k < Count; ++k) sums[k] = Vector{};
  for (int t = 0; t < count; ++t) {
    const float* source = taps[t].source + at;
    const float weight = taps[t].weight;
#pragma GCC unroll 4
    for (int k = 0; k < Count; ++k) sums[k] += weight * load(source + k * kLanes);
  }
#pragma GCC unroll 4
  for (int k = 0; k < Count; ++k) {
    sums[k] *= scale;
    if (gain) sums[k] *= load(gain + at + k * kLanes);
  }
}

template <int Count>
inline void sum_taps(float* y, const Tap* taps, int count, int64_t at, float scale, const float* gain) {
  Vector sums[Count];
  gather_taps<Count>(sums, taps, count, at, scale, gain);
#pragma GCC unroll 4
  for (int k = 0; k < Count; ++k) store(y + k * kLanes, sums[k]);
}

// The diagonal sum at one place.
inline float sum_at(const Tap* taps, int count, int64_t at, float scale, const float* gain) {
  float sum = 0;
  for (int t = 0; t < count; ++t) sum += taps[t].weight * taps[t].source[at];
  return scale * sum * (gain ? gain[at] : 1.0f);
}

void diagonal_sum(float* y, const Tap* taps, int count, int64_t at, int64_t n, float scale,
                  const float* gain) {
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) sum_taps<4>(y + i, taps, count, at + i, scale, gain);
  for (; i + kLanes <= n; i += kLanes) sum_taps<1>(y + i, taps, count, at + i, scale, gain);
  if (i < n && n >= kLanes) {
    // The last vector overlaps the one before it: no scalar tail.
    i = n - kLanes;
    sum_taps<1>(y + i, taps, count, at + i, scale, gain);
    return;
  }
  for (; i < n; ++i) y[i] = sum_at(taps, count, at + i, scale, gain);
}

inline uint16_t to_bfloat16(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  // to nearest, ties to even
}

void diagonal_sum_bfloat16(uint16_t* y, const Tap* taps, int count, int64_t at, int64_t n) {
  float sums[kChunk];
  for (int64_t start = 0; start < n; start += kChunk) {
    const int64_t length = start + kChunk < n ? kChunk : n - start;
    diagonal_sum(sums, taps, count, at + start, length, 1.0f, nullptr);
#pragma omp simd
    for (int64_t i = 0; i < length; ++i) y[start + i] = to_bfloat16(sums[i]);
  }
}

float largest(const float* x, const float* valid, int64_t n) {
  float best = -kInfinity;
#pragma omp simd reduction(max : best)
  for (int64_t i = 0; i < n; ++i) {
    const float v = valid[i] != 0 ? x[i] : -kInfinity;
    best = v > best ? v : best;
  }
  return best;
}

// exp(x) for x <= 0, a number or a vector: range reduction by ln 2 in two parts and a polynomial of degree 6
// (2.5e-7 relative). A NaN stays one. Below ln(1e-30) the result is not used.
template <class Bits, class Number>
inline Number exponential(Number x) {
  constexpr float kLog2E = 1.44269504088896341f;
  constexpr float kLn2High = 0.693359375f;
  constexpr float kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  x = x < -80.0f ? Number{} - 80.0f : x;
  const Number shifted = x * kLog2E + kRound;
  const Number exponent = shifted - kRound;
  const Number r = (x - exponent * kLn2High) - exponent * kLn2Low;
  Number p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  Bits bits;
  __builtin_memcpy(&bits, &shifted, sizeof bits);
  bits = (bits << 23) + 0x3f800000;  // 2^exponent
  Number power;
  __builtin_memcpy(&power, &bits, sizeof bits);
  return p * power;
}

// A softmax weight before its normalisation. Positions that are not valid may lie above the offset: bounded,
// so that 0 * inf cannot occur.
template <class Bits, class Number>
inline Number weight_of(Number logit, Number valid) {
  const Number weight = exponential<Bits>(logit > 0.0f ? Number{} : logit) * valid;
  return weight < kSmallestWeight ? Number{} : weight;
}

double exponentials(float* x, const float* valid, int64_t n, float offset) {
  double total = 0;
  for (int64_t start = 0; start < n; start += kChunk) {
    const int64_t end = start + kChunk < n ? start + kChunk : n;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = start; i < end; ++i) {
      x[i] = weight_of<int32_t>(x[i] - offset, valid[i]);
      sum += x[i];
    }
    total += sum;
  }
  return total;
}

// `Count` vectors of weights; returns their sum by lane.
template <int Count>
inline Vector store_weights(float* y, const Tap* taps, int count, int64_t at, float scale, const float* gain,
                            const float* valid, float offset) {
  Vector logits[Count], sum{};
  gather_taps<Count>(logits, taps, count, at, scale, gain);
#pragma GCC unroll 4
  for (int k = 0; k < Count; ++k) {
    const Vector weight = weight_of<Bits>(logits[k] - offset, load(valid + at + k * kLanes));
    store(y + k * kLanes, weight);
    sum += weight;
  }
  return sum;
}

double softmax_weights(float* y, const Tap* taps, int count, int64_t at, int64_t n, float scale,
                       const float* gain, const float* valid, float offset) {
  double total = 0;
  int64_t i = 0;
  while (i + kLanes <= n) {
    const int64_t end = i + kChunk < n ? i + kChunk : n;
    Vector sum{};
    for (; i + 4 * kLanes <= end; i += 4 * kLanes)
      sum += store_weights<4>(y + i, taps, count, at + i, scale, gain, valid, offset);
    for (; i + kLanes <= end; i += kLanes)
      sum += store_weights<1>(y + i, taps, count, at + i, scale, gain, valid, offset);
    for (int lane = 0; lane < kLanes; ++lane) total += sum[lane];
  }
  for (; i < n; ++i) {
    y[i] = weight_of<int32_t>(sum_at(taps, count, at + i, scale, gain) - offset, valid[at + i]);
    total += y[i];
  }
  return total;
}

double sum(const float* x, int64_t n) {
  double total = 0;
  for (int64_t start = 0; start < n; start += kChunk) {
    const int64_t end = start + kChunk < n ? start + kChunk : n;
    float part = 0;
#pragma omp simd reduction(+ : part)
    for (int64_t i = start; i < end; ++i) part += x[i];
    total += part;
  }
  return total;
}

double dot(const float* x, const float* y, int64_t n) {
  double total = 0;
  for (int64_t start = 0; start < n; start += kChunk) {
    const int64_t end = start + kChunk < n ? start + kChunk : n;
    float part = 0;
#pragma omp simd reduction(+ : part)
    for (int64_t i = start; i < end; ++i) part += x[i] * y[i];
    total += part;
  }
  return total;
}

double weighted_sum(const float* weight, const float* x, int64_t n, double* mass) {
  double total = 0;
  for (int64_t start = 0; start < n; start += kChunk) {
    const int64_t end = start + kChunk < n ? start + kChunk : n;
    float part = 0, weights = 0;
#pragma omp simd reduction(+ : part, weights)
    for (int64_t i = start; i < end; ++i) {
      part += weight[i] * x[i];
      weights += weight[i];
    }
    total += part;
    *mass += weights;
  }
  return total;
}

float argmax(const float* x, int64_t n, int64_t* index) {
  float best = -kInfinity;
#pragma omp simd reduction(max : best)
  for (int64_t i = 0; i < n; ++i) best = x[i] > best ? x[i] : best;
  *index = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (x[i] == best) {
      *index = i;
      break;
    }
  }
  return best;
}

void centred(float* y, const float* weight, const float* gradient, int64_t n, float scale, float centre) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = scale * weight[i] * (gradient[i] - centre);
}

double norm_gradients(const float* gradient, const float* product, const float* beta, int64_t n, float alpha,
                      float* beta_gradient) {
  double total = 0;
  for (int64_t start = 0; start < n; start += kChunk) {
    const int64_t end = start + kChunk < n ? start + kChunk : n;
    float part = 0;
#pragma omp simd reduction(+ : part)
    for (int64_t i = start; i < end; ++i) {
      // The norm first: product * gradient overflows where the features are large.
      part += beta[i] * product[i] * gradient[i];
      beta_gradient[i] += alpha * product[i] * gradient[i];
    }
    total += part;
  }
  return total;
}

void scale(float* x, const float* gain, int64_t n, float factor) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) x[i] *= factor * gain[i];
}

void add(float* y, const float* x, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

void add_bfloat16(float* y, const uint16_t* x, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t bits = static_cast<uint32_t>(x[i]) << 16;
    float value;
    __builtin_memcpy(&value, &bits, 4);
    y[i] += value;
  }
}

}  // namespace

extern const Filters filters;
const Filters filters = {diagonal_sum, diagonal_sum_bfloat16, softmax_weights, largest, exponentials,   sum,
                         dot,          weighted_sum,          argmax,          centred, norm_gradients, scale,
                         add,          add_bfloat16,          squared_distance};

}  // namespace CA_SIMD_LEVEL
}  // namespace contextual_attention::cpu
