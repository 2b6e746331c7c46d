// Blocks and warps one after the other; the lanes of a warp as fibers, each of which runs until it meets the
// others in a shuffle or __syncwarp, or leaves the kernel.
//
// On a device, lanes that do not all arrive at the same exchange of a full mask are undefined behaviour; here
// they are an error of the launch, and so is a grid that CUDA would refuse.
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>

#include "cuda_runtime.h"

namespace emulator {

Settings settings;

namespace {

constexpr unsigned kLanes = 32, kAllLanes = 0xffffffffu;
constexpr size_t kStackBytes = 256 << 10;

struct Place {
  const char* call;
  int line;
  const void* address;
  unsigned mask;

  bool operator==(const Place& other) const { return address == other.address; }
  std::string text() const { return std::string(call) + " of line " + std::to_string(line); }
};

struct Lane {
  bool has_left;
  // Where it waits, and with what.
  Place place;
  uint64_t bits;
  unsigned other;
};

struct Fiber {
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  bool has_begun = false;
  ucontext_t begin;
  jmp_buf here;
  unsigned lane = 0;
};

// After the first time, which ucontext is needed for: its own switches take system calls.
void switch_over(jmp_buf& from, jmp_buf& to) {
  if (_setjmp(from) == 0) _longjmp(to, 1);
}

class Warp {
 public:
  // Empty, or how its lanes have missed each other.
  std::string run(const std::function<void()>& thread, unsigned first_thread) {
    thread_ = &thread;
    first_thread_ = first_thread;
    started_ = 0;
    size_t fibers = 0;
    while (started_ < kLanes) resume(fibers_[fibers++]);
    while (!std::all_of(lanes_.begin(), lanes_.end(), [](const Lane& lane) { return lane.has_left; })) {
      const std::string missed = who_is_missing();
      if (!missed.empty()) {
        for (Fiber& fiber : fibers_) fiber.has_begun = false;
        return missed;
      }
      exchange();
      for (size_t i = 0; i < fibers; ++i) resume(fibers_[i]);
    }
    return {};
  }

  uint64_t meet(const Place& place, uint64_t bits, unsigned other) {
    Fiber& fiber = *running_;
    lanes_[fiber.lane] = {false, place, bits, other};
    switch_over(fiber.here, scheduler_);
    return lanes_[fiber.lane].bits;
  }

 private:
  void resume(Fiber& fiber) {
    running_ = &fiber;
    enter(fiber.lane);
    if (fiber.has_begun) return switch_over(scheduler_, fiber.here);
    fiber.has_begun = true;
    getcontext(&fiber.begin);
    fiber.begin.uc_stack.ss_sp = fiber.stack.get();
    fiber.begin.uc_stack.ss_size = kStackBytes;
    makecontext(&fiber.begin, &Warp::begin, 0);
    if (_setjmp(scheduler_) == 0) setcontext(&fiber.begin);
  }

  static void begin();

  // One fiber serves lanes that wait for nobody one after the other; one that waits keeps it.
  void work() {
    Fiber& fiber = *running_;
    for (;;) {
      while (started_ < kLanes) {
        fiber.lane = settings.backwards ? kLanes - 1 - started_ : started_;
        ++started_;
        enter(fiber.lane);
        (*thread_)();
        lanes_[fiber.lane].has_left = true;
      }
      switch_over(fiber.here, scheduler_);
    }
  }

  void enter(unsigned lane) const { threadIdx.x = first_thread_ + lane; }

  std::string who_is_missing() const {
    const auto waits = std::find_if(lanes_.begin(), lanes_.end(), [](const Lane& l) { return !l.has_left; });
    if (waits->place.mask != kAllLanes) return waits->place.text() + ": the emulator takes full masks only";
    for (const Lane& lane : lanes_) {
      if (!lane.has_left && lane.place == waits->place) continue;
      return "lane " + std::to_string(waits - lanes_.begin()) + " waits at " + waits->place.text() +
             ", lane " + std::to_string(&lane - lanes_.data()) +
             (lane.has_left ? " has left the kernel" : " at another " + lane.place.text());
    }
    return {};
  }

  void exchange() {
    const std::array<Lane, kLanes> given = lanes_;
    for (unsigned i = 0; i < kLanes; ++i) lanes_[i].bits = given[(i ^ given[i].other) % kLanes].bits;
  }

  const std::function<void()>* thread_;
  unsigned first_thread_, started_;
  std::array<Lane, kLanes> lanes_;
  std::array<Fiber, kLanes> fibers_;
  Fiber* running_;
  jmp_buf scheduler_;
};

Warp warp;
cudaError_t last_error = cudaSuccess;
std::string last_message;

void Warp::begin() { warp.work(); }

void fail(cudaError_t error, const std::string& message) {
  last_error = error;
  last_message = message;
}

std::string run_block(unsigned threads, const std::function<void()>& thread) {
  const unsigned warps = threads / kLanes;
  for (unsigned i = 0; i < warps; ++i) {
    const unsigned index = settings.backwards ? warps - 1 - i : i;
    const std::string missed = warp.run(thread, index * kLanes);
    if (!missed.empty()) return "warp " + std::to_string(index) + ": " + missed;
  }
  return {};
}

}  // namespace

void launch(const char* kernel, dim3 grid, dim3 block, size_t, cudaStream_t,
            const std::function<void()>& thread) {
  const bool fits = grid.x - 1 < INT32_MAX && grid.y - 1 < 65535 && grid.z == 1 && block.x - 1 < 1024;
  if (!fits) return fail(cudaErrorInvalidConfiguration, "invalid configuration argument");
  if (block.x % kLanes != 0 || block.y != 1 || block.z != 1)
    return fail(cudaErrorInvalidConfiguration, "the emulator takes blocks of whole warps in x");
  const int64_t end = std::min(settings.end_block, int64_t(grid.x) * grid.y);
  for (int64_t i = settings.first_block; i < end; ++i) {
    const int64_t index = settings.backwards ? settings.first_block + end - 1 - i : i;
    blockIdx = dim3(unsigned(index % grid.x), unsigned(index / grid.x), 0);
    const std::string missed = run_block(block.x, thread);
    if (!missed.empty())
      return fail(cudaErrorLaunchFailure, std::string(kernel) + ", block (" + std::to_string(blockIdx.x) +
                                              ", " + std::to_string(blockIdx.y) + "), " + missed);
  }
}

uint64_t meet(const char* call, int line, unsigned mask, uint64_t bits, unsigned other) {
  return warp.meet({call, line, __builtin_return_address(0), mask}, bits, other);
}

}  // namespace emulator

cudaError_t cudaGetLastError() {
  const cudaError_t error = emulator::last_error;
  emulator::last_error = cudaSuccess;
  return error;
}

const char* cudaGetErrorString(cudaError_t) { return emulator::last_message.c_str(); }
