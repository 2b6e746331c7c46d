#include "simd.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include "hooks.h"

namespace contextual_attention::cpu {

namespace base {
extern const Filters filters;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Filters filters;
}
namespace avx512 {
extern const Filters filters;
}
#endif

namespace {

struct Level {
  const char* name;
  const Filters* filters;
  bool (*supported)();
};

const Level kLevels[] = {
    {"base", &base::filters, [] { return true; }},
#if defined(__x86_64__)
    {"avx2", &avx2::filters, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
    {"avx512", &avx512::filters,
     [] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
     }},
#endif
};

const Level* find(const std::string& name) {
  for (const Level& level : kLevels)
    if (name == level.name) return &level;
  return nullptr;
}

const Level* usable(const std::string& name) {
  const Level* level = find(name);
  if (level && level->supported()) return level;
  std::string known;
  for (const Level& other : kLevels)
    if (other.supported()) known += (known.empty() ? "" : ", ") + std::string(other.name);
  throw std::invalid_argument("SIMD level \"" + name + "\" is not available here; choose one of: " + known);
}

const Level* initial_level() {
  if (const char* forced = std::getenv("CONTEXTUAL_ATTENTION_SIMD")) return usable(forced);
  const Level* best = &kLevels[0];
  for (const Level& level : kLevels)
    if (level.supported()) best = &level;
  return best;
}

std::atomic<const Level*>& active() {
  static std::atomic<const Level*> level{initial_level()};
  return level;
}

}  // namespace

const std::vector<std::string>& built_simd_levels() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Level& level : kLevels) all.emplace_back(level.name);
    return all;
  }();
  return names;
}

bool simd_level_supported(const std::string& name) {
  const Level* level = find(name);
  return level && level->supported();
}

std::string simd_level() { return active().load()->name; }

void set_simd_level(const std::string& level) { active().store(usable(level)); }

const Filters& active_filters() {
  const Filters& filters = *active().load()->filters;
  const Hooks* table = hooks;
  return table ? table->filters(filters) : filters;
}

}  // namespace contextual_attention::cpu
