// An operator's call as the dispatcher makes it: arguments on a stack, in the order of the schema. They are
// read once, in the groups of contextual_attention/interface.py, and checked.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include <initializer_list>
#include <optional>
#include <tuple>
#include <type_traits>

#include "problem.h"

namespace contextual_attention {

// Takes arguments from a stack, one after the other. Each must be taken, before anything can fail: whoever
// takes a tensor owns it.
class Stack {
 public:
  explicit Stack(const StableIValue* first) : next_(first) {}

  template <class T>
  T take() {
    if constexpr (std::is_enum_v<T>)
      return static_cast<T>(take<int64_t>());
    else if constexpr (std::is_same_v<T, float>)
      return static_cast<float>(take<double>());
    else
      return torch::stable::detail::to<T>(*next_++);
  }

 private:
  const StableIValue* next_;
};

// A group of arguments, from the list of its fields: X(type, name)...
#define CA_MEMBER(type, name) type name;
#define CA_TAKEN(type, name) stack.take<type>(),
#define CA_GROUP(Name, FIELDS)                                          \
  struct Name {                                                         \
    static constexpr uint64_t count = FIELDS(CA_ONE);                   \
    FIELDS(CA_MEMBER)                                                   \
    static Name taken_from(Stack& stack) { return {FIELDS(CA_TAKEN)}; } \
  };

#define CA_OPERANDS(X)                              \
  X(torch::stable::Tensor, foreground)              \
  X(torch::stable::Tensor, background)              \
  X(std::optional<torch::stable::Tensor>, alpha)    \
  X(torch::stable::Tensor, beta)                    \
  X(torch::stable::Tensor, valid)                   \
  X(std::optional<torch::stable::Tensor>, selected) \
  X(torch::stable::Tensor, value)
#define CA_RUN(X) X(bool, return_offsets) X(int64_t, workspace)
#define CA_PASTING(X)              \
  X(torch::stable::Tensor, weight) \
  X(torch::stable::Tensor, kept)   \
  X(bool, keep)                    \
  X(int64_t, cell)                 \
  X(int64_t, height)               \
  X(int64_t, width)
#define CA_GRADIENT(X)                 \
  X(torch::stable::Tensor, grad_cells) \
  X(torch::stable::Tensor, statistics) \
  X(int64_t, needs)                    \
  X(int64_t, workspace)

CA_GROUP(Operands, CA_OPERANDS)
CA_GROUP(Scoring, CA_SCORING)
CA_GROUP(Run, CA_RUN)
CA_GROUP(Pasting, CA_PASTING)
CA_GROUP(Gradient, CA_GRADIENT)

// A function of groups as the dispatcher calls it.
template <auto kFunction>
struct Boxed;

template <class... Results, class... Groups, std::tuple<Results...> (*kFunction)(const Groups&...)>
struct Boxed<kFunction> {
  static void run(StableIValue* stack, uint64_t arguments, uint64_t results) {
    STD_TORCH_CHECK(arguments == (Groups::count + ...) && results == sizeof...(Results),
                    "contextual_attention: an operator's schema has ", arguments, " arguments and ", results,
                    " results, and its kernel ", (Groups::count + ...), " and ", sizeof...(Results));
    Stack from(stack);
    // In braces, for then they are taken in their order.
    const std::tuple<Groups...> groups{Groups::taken_from(from)...};
    std::tuple<Results...> made = std::apply(kFunction, groups);
    std::apply([&](const Results&... each) { ((*stack++ = torch::stable::detail::from(each)), ...); }, made);
  }
};

#define CA_BOX(function) (&Boxed<&function>::run)

// Contiguous, in float32.
torch::stable::Tensor as_float(const torch::stable::Tensor& t);

void check_shape(const torch::stable::Tensor& t, const char* name, std::initializer_list<int64_t> expected);

// What a call computes, once its arguments are found to fit each other.
Problem checked_problem(const Operands& operands, const Scoring& scoring);

// What is asked of a backward besides.
void check_gradient(const Gradient& gradient, const Operands& operands, const Problem& problem);

}  // namespace contextual_attention
