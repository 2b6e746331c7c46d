// The CUDA implementation of the operators around the operator: of cells.py, and those of features.py; or, in
// what tests build without CUDA, the same on CPU tensors under names that end in _on_host.
//
// As in ops.cpp, nothing here waits for the device, and no shape depends on what a tensor holds.
#include "glue.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <type_traits>

#include "executor.h"
#include "paste.h"

namespace contextual_attention {
namespace gpu {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// queries, keys, alpha, beta, valid, weight
using Features = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// Of all samples, as many at once as a grid takes.
template <class Body>
void run_all(const Executor& executor, Body body, int64_t samples) {
  for (int64_t first = 0; first < samples; first += kMostSamples) {
    body.first = int32_t(first);
    body.samples = int32_t(std::min(samples - first, kMostSamples));
    executor.run(body);
  }
}

// run(T{}) with T the entries of a dtype.
template <class Run>
void with_entry(ScalarType dtype, const Run& run) {
  switch (dtype) {
    case ScalarType::Float:
      return run(float{});
    case ScalarType::BFloat16:
      return run(Bfloat16{});
    case ScalarType::Half:
      return run(Float16{});
    default:
      STD_TORCH_CHECK(false, "contextual_attention: maps must be float32, bfloat16 or float16");
  }
}

// The same where only the size of an entry matters.
template <class Run>
void with_bits(int64_t bytes, const Run& run) {
  switch (bytes) {
    case 1:
      return run(uint8_t{});
    case 2:
      return run(uint16_t{});
    case 4:
      return run(uint32_t{});
    case 8:
      return run(uint64_t{});
    default:
      STD_TORCH_CHECK(false, "contextual_attention: entries of ", bytes, " bytes are not supported");
  }
}

template <class T>
T* data_of(const Tensor& t) {
  return static_cast<T*>(const_cast<void*>(static_cast<const void*>(t.data_ptr())));
}

template <class T>
Planes<T> planes(const Tensor& t) {
  return {data_of<T>(t), int32_t(t.size(1)), t.stride(0), t.stride(1), t.stride(2), t.stride(3)};
}

// Of a contiguous tensor, whose pixels have so many channels.
template <class T>
PixelChannels<T> pixel_channels(const Tensor& t, int64_t channels) {
  const bool aligned = PixelChannels<T>::kVectors > 0 && channels % kGroup == 0 &&
                       reinterpret_cast<uintptr_t>(t.data_ptr()) % sizeof(Vector) == 0;
  return {data_of<T>(t), int32_t(channels), aligned};
}

// Of a contiguous tensor (samples, rows, columns), one for all samples or one for each.
template <class T>
PixelMap<T> pixel_map(const Tensor& t) {
  return {data_of<T>(t), int32_t(t.size(1)), int32_t(t.size(2)), t.size(0) == 1 ? 0 : t.size(1) * t.size(2)};
}

template <class T>
PixelMap<T> pixel_map(const std::optional<Tensor>& t) {
  return t ? pixel_map<T>(*t) : PixelMap<T>{};
}

// Flags or weights of the cells or positions of a batch, contiguous.
std::optional<Tensor> checked_map(const std::optional<Tensor>& t, const char* name, ScalarType dtype,
                                  int64_t batch, int64_t rows, int64_t columns) {
  if (!t) return std::nullopt;
  STD_TORCH_CHECK(t->scalar_type() == dtype, "contextual_attention: ", name, " does not have its dtype");
  STD_TORCH_CHECK(t->dim() == 3 && (t->size(0) == 1 || t->size(0) == batch) && t->size(1) == rows &&
                      t->size(2) == columns,
                  "contextual_attention: ", name, " must have an entry for each cell or position");
  return torch::stable::contiguous(*t);
}

Tensor empty(const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType dtype) {
  return torch::stable::new_empty(like, {sizes.begin(), sizes.size()}, dtype);
}

// Cells

CellGrid grid_of(int64_t cell, int64_t rows, int64_t columns, int64_t height, int64_t width) {
  STD_TORCH_CHECK(cell >= 1 && rows * cell >= height + cell / 2 && columns * cell >= width + cell / 2,
                  "contextual_attention: ", rows, " x ", columns, " cells of side ", cell, " do not cover ",
                  height, " x ", width, " pixels");
  return {int32_t(cell), int32_t(rows), int32_t(columns), int32_t(height), int32_t(width)};
}

Tensor cut(Tensor image, int64_t cell, int64_t rows, int64_t columns, std::optional<Tensor> kept) {
  const int64_t batch = image.size(0), channels = image.size(1);
  const CellGrid grid = grid_of(cell, rows, columns, image.size(2), image.size(3));
  const auto flags = checked_map(kept, "kept", ScalarType::Bool, batch, rows, columns);
  const Tensor cells = empty(image, {batch, rows, columns, cell * cell * channels}, image.scalar_type());
  run_beside(image, [&](const Executor& executor) {
    with_bits(image.element_size(), [&](auto entry) {
      using T = decltype(entry);
      run_all(executor,
              Cut<T>{planes<const T>(image), pixel_channels<T>(cells, channels), grid,
                     pixel_map<const bool>(flags), 0, 0},
              batch);
    });
  });
  return cells;
}

Tensor join(Tensor cells, int64_t cell, int64_t height, int64_t width, std::optional<Tensor> kept) {
  const int64_t batch = cells.size(0), rows = cells.size(1), columns = cells.size(2);
  const CellGrid grid = grid_of(cell, rows, columns, height, width);
  const int64_t channels = cells.size(3) / (cell * cell);
  const auto flags = checked_map(kept, "kept", ScalarType::Bool, batch, rows, columns);
  const Tensor packed = torch::stable::contiguous(cells);
  const Tensor image = empty(cells, {batch, channels, height, width}, cells.scalar_type());
  run_beside(cells, [&](const Executor& executor) {
    with_bits(cells.element_size(), [&](auto entry) {
      using T = decltype(entry);
      run_all(executor,
              Join<T>{pixel_channels<const T>(packed, channels), planes<T>(image), grid,
                      pixel_map<const bool>(flags), 0, 0},
              batch);
    });
  });
  return image;
}

std::tuple<Tensor, Tensor> lift(Tensor image, Tensor weight, bool keep, int64_t cell, int64_t rows,
                                int64_t columns, bool wide) {
  const int64_t batch = image.size(0), channels = image.size(1);
  const CellGrid grid = grid_of(cell, rows, columns, image.size(2), image.size(3));
  const auto shares = checked_map(weight, "weight", ScalarType::Float, batch, rows, columns);
  const Tensor cells = empty(image, {batch, rows, columns, cell * cell * channels},
                             wide ? ScalarType::Float : image.scalar_type());
  const Tensor below =
      keep ? empty(image, {batch, channels, image.size(2), image.size(3)}, image.scalar_type())
           : empty(image, {0}, image.scalar_type());
  run_beside(image, [&](const Executor& executor) {
    with_entry(image.scalar_type(), [&](auto entry) {
      using T = decltype(entry);
      const auto run_into = [&](auto cell_entry) {
        using Cell = decltype(cell_entry);
        run_all(executor,
                Lift<T, Cell>{planes<const T>(image), pixel_map<const float>(shares),
                              pixel_channels<Cell>(cells, channels), keep ? planes<T>(below) : Planes<T>{},
                              grid, 0, 0},
                batch);
      };
      wide ? run_into(float{}) : run_into(T{});
    });
  });
  return {cells, below};
}

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

Flags flag_positions(Tensor mask, int64_t height, int64_t width, int64_t rate, bool aligned, bool sampled,
                     int64_t ksize, int64_t stride, int64_t taps, bool wrap, bool excludes, bool mean) {
  const Sampling down = sampling(height, rate, aligned), right = sampling(width, rate, aligned);
  const int64_t samples = mask.size(0), scale = mask.size(2) / height, bytes = mask.element_size();
  STD_TORCH_CHECK(mask.dim() == 4 && mask.size(2) == scale * height && mask.size(3) == scale * width &&
                      bytes <= 8 && (mask.scalar_type() == ScalarType::Bool) == (bytes == 1),
                  "contextual_attention: a mask must be bool or floating, at a multiple of the map's size");
  const auto flags = [&] { return empty(mask, {samples, down.count, right.count}, ScalarType::Bool); };
  const Tensor missing = flags(), read = flags(), chosen = excludes ? flags() : missing;
  const Tensor cells = empty(mask, {samples, down.count + 1, right.count + 1},
                             excludes ? ScalarType::Bool : ScalarType::Float);
  STD_TORCH_CHECK(ksize >= 1 && stride >= 1 && taps >= 1,
                  "contextual_attention: ksize, stride and taps must be positive");
  run_beside(mask, [&](const Executor& executor) {
    const auto run = [&](const auto& body) { run_all(executor, body, samples); };
    run(DownscaleMask{static_cast<const char*>(mask.const_data_ptr()), int32_t(bytes), bytes * mask.stride(0),
                      bytes * mask.stride(2), bytes * mask.stride(3), int32_t(mask.size(2)),
                      int32_t(mask.size(3)), int32_t(scale * rate), sampled, down, right,
                      sampling(mask.size(2), scale, aligned), sampling(mask.size(3), scale, aligned),
                      pixel_map<bool>(missing), 0, 0});
    if (excludes)
      run(FindCandidates{pixel_map<const bool>(missing), pixel_map<bool>(chosen), int32_t(ksize),
                         int32_t(stride), 0, 0});
    // As far as a propagation reaches, which ran left-right first: so what a position sums is found down the
    // columns first.
    Tensor spread = chosen;
    const auto reach = [&](bool along_columns) {
      const Tensor next = flags();
      run(Spread{pixel_map<const bool>(spread), pixel_map<bool>(next), int32_t(taps), int32_t(stride), wrap,
                 along_columns, 0, 0});
      spread = next;
    };
    if (taps > 1) reach(true);
    if (taps > 1 && wrap) reach(false);
    run(FindRead{pixel_map<const bool>(spread), pixel_map<const bool>(chosen), pixel_map<bool>(read),
                 excludes ? pixel_map<bool>(cells) : PixelMap<bool>{},
                 excludes ? PixelMap<float>{} : pixel_map<float>(cells), int32_t(ksize), mean, 0, 0});
  });
  return {chosen, read, cells};
}

// Features

// How the pixels of a map are picked and its norms are made, as the schemas of interface.py have it.
struct Taking {
  int64_t rate;
  bool aligned;
  int64_t ksize;
  double eps;
  bool adds_eps;

  Sampling sampling(int64_t size) const { return gpu::sampling(size, rate, aligned); }
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

Features take_features(Tensor foreground, std::optional<Tensor> background, std::optional<Tensor> asked,
                       std::optional<Tensor> read, int64_t rate, bool aligned, int64_t ksize, double eps,
                       bool adds_eps, bool both, bool mean) {
  const Taking taking{rate, aligned, ksize, eps, adds_eps};
  const Tensor& from = background ? *background : foreground;
  STD_TORCH_CHECK(
      from.scalar_type() == foreground.scalar_type() && from.size(0) == foreground.size(0) &&
          from.size(1) == foreground.size(1),
      "contextual_attention: foreground and background must have the same dtype, samples and channels");
  const bool shared = !background && !asked && !read;
  const int64_t h = taking.positions(foreground.size(2)), w = taking.positions(foreground.size(3));
  const int64_t hb = taking.positions(from.size(2)), wb = taking.positions(from.size(3));
  const auto or_none = [&](bool wanted, std::initializer_list<int64_t> sizes, ScalarType dtype) {
    return wanted ? empty(foreground, sizes, dtype) : empty(foreground, {0}, dtype);
  };
  const Tensor valid = or_none(!read, {1, hb, wb}, ScalarType::Bool);
  const Tensor weight = or_none(!asked, {1, h + 1, w + 1}, ScalarType::Float);
  std::optional<Taken> queries, keys;
  run_beside(foreground, [&](const Executor& executor) {
    queries = take(executor, foreground, asked, taking, both || shared);
    if (!shared) keys = take(executor, from, read, taking, true);
    const bool some = foreground.size(0) > 0;
    run_all(
        executor,
        FinishPositions{some ? queries->finish() : PatchNorms{}, some && keys ? keys->finish() : PatchNorms{},
                        int32_t(ksize), taking.guard(foreground.size(1)),
                        read ? PixelMap<bool>{} : pixel_map<bool>(valid),
                        asked ? PixelMap<float>{} : pixel_map<float>(weight), mean,
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

std::tuple<Tensor, Tensor> take_features_backward(
    Tensor queries, Tensor keys, Tensor alpha, Tensor beta, std::optional<Tensor> asked,
    std::optional<Tensor> read, std::optional<Tensor> grad_queries, std::optional<Tensor> grad_keys,
    std::optional<Tensor> grad_alpha, std::optional<Tensor> grad_beta, int64_t rate, bool aligned,
    int64_t ksize, double eps, bool adds_eps, int64_t height, int64_t width, int64_t background_height,
    int64_t background_width, bool one_map, int64_t needs) {
  const Taking taking{rate, aligned, ksize, eps, adds_eps};
  // As the forward made them, but for what a caller's hooks on saved tensors do.
  for (Tensor* saved : {&queries, &keys, &alpha, &beta}) *saved = torch::stable::contiguous(*saved);
  const bool shared = keys.dim() == 1;
  const Slopes of_queries{queries, shared ? beta : alpha, asked, grad_queries,
                          shared ? grad_beta : grad_alpha};
  const Slopes of_keys{keys, beta, read, grad_keys, grad_beta};
  std::tuple<Tensor, Tensor> gradients{empty(queries, {0}, queries.scalar_type()),
                                       empty(queries, {0}, queries.scalar_type())};
  run_beside(queries, [&](const Executor& executor) {
    if (needs & 1)
      std::get<0>(gradients) =
          map_gradient(executor, taking, height, width, of_queries, one_map && !shared ? &of_keys : nullptr);
    if (needs & 2)
      std::get<1>(gradients) =
          map_gradient(executor, taking, background_height, background_width, of_keys, nullptr);
  });
  return gradients;
}

}  // namespace

Tensor paste(Tensor cells, Tensor weight, Tensor foreground, bool keep, int64_t cell, int64_t height,
             int64_t width) {
  const int64_t batch = cells.size(0), rows = cells.size(1), columns = cells.size(2);
  const CellGrid grid = grid_of(cell, rows, columns, height, width);
  const int64_t channels = cells.size(3) / (cell * cell);
  STD_TORCH_CHECK(cells.scalar_type() == ScalarType::Float, "contextual_attention: cells must be float32");
  STD_TORCH_CHECK(!keep || (foreground.size(0) == batch && foreground.size(1) == channels &&
                            foreground.size(2) == height && foreground.size(3) == width),
                  "contextual_attention: the kept map does not have the size of the output");
  const auto shares = checked_map(weight, "weight", ScalarType::Float, batch, rows, columns);
  const Tensor packed = torch::stable::contiguous(cells);
  const Tensor image = empty(foreground, {batch, channels, height, width}, foreground.scalar_type());
  run_beside(cells, [&](const Executor& executor) {
    with_entry(foreground.scalar_type(), [&](auto entry) {
      using T = decltype(entry);
      run_all(executor,
              Paste<T>{pixel_channels<const float>(packed, channels), pixel_map<const float>(shares),
                       keep ? planes<const T>(foreground) : Planes<const T>{}, planes<T>(image), grid, 0, 0},
              batch);
    });
  });
  return image;
}

#if defined(CA_CUDA_ARCHITECTURES)
#define CA_PLACE ""
STABLE_TORCH_LIBRARY_IMPL(contextual_attention, CUDA, m) {
#else
#define CA_PLACE "_on_host"
STABLE_TORCH_LIBRARY_IMPL(contextual_attention, CPU, m) {
#endif
  m.impl("cut" CA_PLACE, TORCH_BOX(&cut));
  m.impl("join" CA_PLACE, TORCH_BOX(&join));
  m.impl("paste" CA_PLACE, TORCH_BOX(&paste));
  m.impl("lift" CA_PLACE, TORCH_BOX(&lift));
  m.impl("flag_positions" CA_PLACE, TORCH_BOX(&flag_positions));
  m.impl("take_features" CA_PLACE, TORCH_BOX(&take_features));
  m.impl("take_features" CA_PLACE "_backward", TORCH_BOX(&take_features_backward));
}
#undef CA_PLACE

}  // namespace gpu
}  // namespace contextual_attention
