// The CUDA implementation of the operators of features.py; or, in what tests build without CUDA, the same on
// CPU tensors under names that end in _on_host.
//
// As in operator.cpp, nothing here waits for the device, and no shape depends on what a tensor holds.
#include "map_features.h"

#include <tuple>
#include <type_traits>

#include "../common/call.h"
#include "map_tensors.h"

namespace contextual_attention::cuda {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

#define CA_FLAGGING(X) \
  X(Tensor, mask)      \
  X(int64_t, height)   \
  X(int64_t, width)    \
  X(int64_t, rate)     \
  X(bool, aligned)     \
  X(bool, sampled)     \
  X(int64_t, ksize)    \
  X(int64_t, stride)   \
  X(int64_t, taps)     \
  X(bool, wrap)        \
  X(bool, excludes)    \
  X(bool, mean)
#define CA_MAPS(X)                     \
  X(Tensor, foreground)                \
  X(std::optional<Tensor>, background) \
  X(std::optional<Tensor>, asked)      \
  X(std::optional<Tensor>, read)
#define CA_TAKING(X) X(int64_t, rate) X(bool, aligned) X(int64_t, ksize) X(double, eps) X(bool, adds_eps)
#define CA_WANTED(X) X(bool, both) X(bool, mean)
#define CA_TAKEN_FEATURES(X)      \
  X(Tensor, queries)              \
  X(Tensor, keys)                 \
  X(Tensor, alpha)                \
  X(Tensor, beta)                 \
  X(std::optional<Tensor>, asked) \
  X(std::optional<Tensor>, read)
#define CA_TAKEN_GRADIENTS(X)            \
  X(std::optional<Tensor>, grad_queries) \
  X(std::optional<Tensor>, grad_keys)    \
  X(std::optional<Tensor>, grad_alpha)   \
  X(std::optional<Tensor>, grad_beta)
#define CA_MAP_SIZES(X)         \
  X(int64_t, height)            \
  X(int64_t, width)             \
  X(int64_t, background_height) \
  X(int64_t, background_width)  \
  X(bool, one_map)              \
  X(int64_t, needs)

CA_GROUP(Flagging, CA_FLAGGING)
CA_GROUP(Maps, CA_MAPS)
CA_GROUP(TakingOptions, CA_TAKING)
CA_GROUP(Wanted, CA_WANTED)
CA_GROUP(TakenFeatures, CA_TAKEN_FEATURES)
CA_GROUP(TakenGradients, CA_TAKEN_GRADIENTS)
CA_GROUP(MapSizes, CA_MAP_SIZES)

// queries, keys, alpha, beta, valid, weight
using Features = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// Positions

// The pixels of a line that its positions read.
Sampling sampling(int64_t size, int64_t rate, bool aligned) {
  STD_TORCH_CHECK(size >= 1 && rate >= 1, "contextual_attention: no positions at rate ", rate, " of ", size,
                  " pixels");
  const int64_t count = (size + rate - 1) / rate;
  const float step = float(size - 1) / float(std::max<int64_t>(count - 1, 1));
  return {int32_t(size), int32_t(count), int32_t(rate), aligned, step};
}

// chosen, read, cells
using Flags = std::tuple<Tensor, Tensor, Tensor>;

Flags flag_positions(const Flagging& of) {
  const Tensor& mask = of.mask;
  const Sampling down = sampling(of.height, of.rate, of.aligned),
                 right = sampling(of.width, of.rate, of.aligned);
  const int64_t samples = mask.size(0), scale = mask.size(2) / of.height, bytes = mask.element_size();
  STD_TORCH_CHECK(mask.dim() == 4 && mask.size(2) == scale * of.height && mask.size(3) == scale * of.width &&
                      bytes <= 8 && (mask.scalar_type() == ScalarType::Bool) == (bytes == 1),
                  "contextual_attention: a mask must be bool or floating, at a multiple of the map's size");
  const auto flags = [&] { return empty(mask, {samples, down.count, right.count}, ScalarType::Bool); };
  const Tensor missing = flags(), read = flags(), chosen = of.excludes ? flags() : missing;
  const Tensor cells = empty(mask, {samples, down.count + 1, right.count + 1},
                             of.excludes ? ScalarType::Bool : ScalarType::Float);
  STD_TORCH_CHECK(of.ksize >= 1 && of.stride >= 1 && of.taps >= 1,
                  "contextual_attention: ksize, stride and taps must be positive");
  run_beside(mask, [&](const Executor& executor) {
    const auto run = [&](const auto& body) { run_all(executor, body, samples); };
    run(DownscaleMask{static_cast<const char*>(mask.const_data_ptr()), int32_t(bytes), bytes * mask.stride(0),
                      bytes * mask.stride(2), bytes * mask.stride(3), int32_t(mask.size(2)),
                      int32_t(mask.size(3)), int32_t(scale * of.rate), of.sampled, down, right,
                      sampling(mask.size(2), scale, of.aligned), sampling(mask.size(3), scale, of.aligned),
                      pixel_map<bool>(missing), 0, 0});
    if (of.excludes)
      run(FindCandidates{pixel_map<const bool>(missing), pixel_map<bool>(chosen), int32_t(of.ksize),
                         int32_t(of.stride), 0, 0});
    // As far as a propagation reaches, which ran left-right first: so what a position sums is found down the
    // columns first.
    Tensor spread = chosen;
    const auto reach = [&](bool along_columns) {
      const Tensor next = flags();
      run(Spread{pixel_map<const bool>(spread), pixel_map<bool>(next), int32_t(of.taps), int32_t(of.stride),
                 of.wrap, along_columns, 0, 0});
      spread = next;
    };
    if (of.taps > 1) reach(true);
    if (of.taps > 1 && of.wrap) reach(false);
    run(FindRead{pixel_map<const bool>(spread), pixel_map<const bool>(chosen), pixel_map<bool>(read),
                 of.excludes ? pixel_map<bool>(cells) : PixelMap<bool>{},
                 of.excludes ? PixelMap<float>{} : pixel_map<float>(cells), int32_t(of.ksize), of.mean, 0,
                 0});
  });
  return {chosen, read, cells};
}

// Features

// How the pixels of a map are picked and its norms are made.
struct Taking : TakingOptions {
  Sampling sampling(int64_t size) const { return cuda::sampling(size, rate, aligned); }
  int64_t positions(int64_t size) const { return sampling(size).count; }
  NormGuard guard(int64_t channels) const {
    return adds_eps ? NormGuard{float(double(ksize * ksize * channels) * eps), 0}
                    : NormGuard{0, float(eps * eps)};
  }
};

// What is taken of one map.
struct Taken {
  Tensor pixels, squares, norms;

  PatchNorms finish() const {
    return norms.numel() == 0 ? PatchNorms{}
                              : PatchNorms{pixel_map<const float>(squares), pixel_map<float>(norms)};
  }
};

Taken take(const Executor& executor, const Tensor& image, const std::optional<Tensor>& kept,
           const Taking& taking, bool has_norms) {
  const int64_t batch = image.size(0), channels = image.size(1);
  const Sampling down = taking.sampling(image.size(2)), right = taking.sampling(image.size(3));
  const auto flags = checked_map(kept, "positions", ScalarType::Bool, batch, down.count, right.count);
  const auto sums = [&] { return empty(image, {batch, down.count, right.count}, ScalarType::Float); };
  const Taken taken{empty(image, {batch, down.count, right.count, channels}, image.scalar_type()), sums(),
                    has_norms ? sums() : empty(image, {0}, ScalarType::Float)};
  with_entry(image.scalar_type(), [&](auto entry) {
    using T = decltype(entry);
    run_all(executor,
            Pick<T>{planes<const T>(image), pixel_channels<T>(taken.pixels, channels),
                    pixel_map<float>(taken.squares), down, right, pixel_map<const bool>(flags), 0, 0},
            batch);
  });
  return taken;
}

Features take_features(const Maps& maps, const TakingOptions& how, const Wanted& wanted) {
  const Tensor& foreground = maps.foreground;
  const Taking taking{how};
  const Tensor& from = maps.background ? *maps.background : foreground;
  STD_TORCH_CHECK(
      from.scalar_type() == foreground.scalar_type() && from.size(0) == foreground.size(0) &&
          from.size(1) == foreground.size(1),
      "contextual_attention: foreground and background must have the same dtype, samples and channels");
  const bool shared = !maps.background && !maps.asked && !maps.read;
  const int64_t h = taking.positions(foreground.size(2)), w = taking.positions(foreground.size(3));
  const int64_t hb = taking.positions(from.size(2)), wb = taking.positions(from.size(3));
  const auto or_none = [&](bool is_wanted, std::initializer_list<int64_t> sizes, ScalarType dtype) {
    return is_wanted ? empty(foreground, sizes, dtype) : empty(foreground, {0}, dtype);
  };
  const Tensor valid = or_none(!maps.read, {1, hb, wb}, ScalarType::Bool);
  const Tensor weight = or_none(!maps.asked, {1, h + 1, w + 1}, ScalarType::Float);
  std::optional<Taken> queries, keys;
  run_beside(foreground, [&](const Executor& executor) {
    queries = take(executor, foreground, maps.asked, taking, wanted.both || shared);
    if (!shared) keys = take(executor, from, maps.read, taking, true);
    const bool some = foreground.size(0) > 0;
    run_all(
        executor,
        FinishPositions{some ? queries->finish() : PatchNorms{}, some && keys ? keys->finish() : PatchNorms{},
                        int32_t(taking.ksize), taking.guard(foreground.size(1)),
                        maps.read ? PixelMap<bool>{} : pixel_map<bool>(valid),
                        maps.asked ? PixelMap<float>{} : pixel_map<float>(weight), wanted.mean,
                        int32_t(std::max(h, hb) + 1), int32_t(std::max(w, wb) + 1), 0, 0},
        std::max<int64_t>(1, foreground.size(0)));
  });
  if (shared)
    return {queries->pixels,
            or_none(false, {}, foreground.scalar_type()),
            or_none(false, {}, ScalarType::Float),
            queries->norms,
            valid,
            weight};
  return {queries->pixels, keys->pixels, queries->norms, keys->norms, valid, weight};
}

// What the backward has of one map: what was taken of it, and the gradients.
struct Slopes {
  const Tensor &pixels, &norms;
  const std::optional<Tensor>&kept, &pixel_gradient, &norm_gradient;

  bool exist() const { return pixel_gradient || norm_gradient; }
};

// Tensors that a body's pointers lead into, until it has been started.
struct GradientTensors {
  std::optional<Tensor> pixel_gradient, slopes, kept;
};

GradientTensors gradient_tensors(const Executor& executor, const Slopes& from, const Taking& taking) {
  const Tensor& pixels = from.pixels;
  const int64_t batch = pixels.size(0), rows = pixels.size(1), columns = pixels.size(2);
  GradientTensors result{std::nullopt, std::nullopt,
                         checked_map(from.kept, "positions", ScalarType::Bool, batch, rows, columns)};
  if (from.pixel_gradient) {
    STD_TORCH_CHECK(from.pixel_gradient->scalar_type() == pixels.scalar_type() &&
                        from.pixel_gradient->numel() == pixels.numel(),
                    "contextual_attention: the gradient of pixels must be like them");
    result.pixel_gradient = torch::stable::contiguous(*from.pixel_gradient);
  }
  if (!from.norm_gradient) return result;
  const auto norms = checked_map(from.norms, "norms", ScalarType::Float, batch, rows, columns);
  const auto gradient = checked_map(from.norm_gradient, "norms", ScalarType::Float, batch, rows, columns);
  result.slopes = empty(pixels, {batch, rows, columns}, ScalarType::Float);
  run_all(
      executor,
      NormSlopes{pixel_map<const float>(norms), pixel_map<const float>(gradient),
                 pixel_map<float>(result.slopes), int32_t(taking.ksize), taking.guard(pixels.size(3)), 0, 0},
      batch);
  return result;
}

template <class T>
PickedGradient<T> picked_gradient(const Slopes& from, const GradientTensors& tensors) {
  const int64_t channels = from.pixels.size(3);
  return {tensors.pixel_gradient ? pixel_channels<const T>(*tensors.pixel_gradient, channels)
                                 : PixelChannels<const T>{},
          pixel_channels<const T>(from.pixels, channels), pixel_map<const float>(tensors.slopes),
          pixel_map<const bool>(tensors.kept)};
}

// Of a map of height x width, from what was taken of it once, or twice.
Tensor map_gradient(const Executor& executor, const Taking& taking, int64_t height, int64_t width,
                    const Slopes& one, const Slopes* other) {
  const Tensor& pixels = one.pixels;
  const auto check = [&](const Tensor& picked) {
    STD_TORCH_CHECK(picked.dim() == 4 && picked.size(1) == taking.positions(height) &&
                        picked.size(2) == taking.positions(width) && picked.size(0) == pixels.size(0) &&
                        picked.size(3) == pixels.size(3) && picked.scalar_type() == pixels.scalar_type(),
                    "contextual_attention: these pixels are not those of a map of ", height, " x ", width);
  };
  check(pixels);
  if (other) check(other->pixels);
  const Tensor image = empty(pixels, {pixels.size(0), pixels.size(3), height, width}, pixels.scalar_type());
  const GradientTensors first = gradient_tensors(executor, one, taking);
  const GradientTensors second = other ? gradient_tensors(executor, *other, taking) : GradientTensors{};
  with_entry(pixels.scalar_type(), [&](auto entry) {
    using T = decltype(entry);
    run_all(executor,
            Place<T>{picked_gradient<T>(one, first),
                     other ? picked_gradient<T>(*other, second) : PickedGradient<T>{}, planes<T>(image),
                     taking.sampling(height), taking.sampling(width), 0, 0},
            pixels.size(0));
  });
  return image;
}

std::tuple<Tensor, Tensor> take_features_backward(const TakenFeatures& taken, const TakenGradients& of,
                                                  const TakingOptions& how, const MapSizes& maps) {
  const Taking taking{how};
  // As the forward made them, but for what a caller's hooks on saved tensors do.
  const auto packed = [](const Tensor& saved) { return torch::stable::contiguous(saved); };
  const Tensor queries = packed(taken.queries), keys = packed(taken.keys);
  const Tensor alpha = packed(taken.alpha), beta = packed(taken.beta);
  const bool shared = keys.dim() == 1;
  const Slopes of_queries{queries, shared ? beta : alpha, taken.asked, of.grad_queries,
                          shared ? of.grad_beta : of.grad_alpha};
  const Slopes of_keys{keys, beta, taken.read, of.grad_keys, of.grad_beta};
  std::tuple<Tensor, Tensor> gradients{empty(queries, {0}, queries.scalar_type()),
                                       empty(queries, {0}, queries.scalar_type())};
  run_beside(queries, [&](const Executor& executor) {
    if (maps.needs & 1)
      std::get<0>(gradients) = map_gradient(executor, taking, maps.height, maps.width, of_queries,
                                            maps.one_map && !shared ? &of_keys : nullptr);
    if (maps.needs & 2)
      std::get<1>(gradients) =
          map_gradient(executor, taking, maps.background_height, maps.background_width, of_keys, nullptr);
  });
  return gradients;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(contextual_attention, CA_DEVICE, m) {
  m.impl("flag_positions" CA_PLACE, CA_BOX(flag_positions));
  m.impl("take_features" CA_PLACE, CA_BOX(take_features));
  m.impl("take_features" CA_PLACE "_backward", CA_BOX(take_features_backward));
}

}  // namespace contextual_attention::cuda
