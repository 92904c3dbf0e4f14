#include "lib/graph/expression.h"

#include <cctype>

namespace tango::graph {
namespace {

constexpr std::size_t kMaxExpressionBytes = 256;
constexpr int kMaxNesting = 16;

// Recursive descent; the first failure sticks.
class Parser {
 public:
  Parser(std::string_view text, const std::map<std::string, std::int64_t>& variables)
      : text_(text), variables_(variables) {}

  Result<std::int64_t> run() {
    const std::int64_t value = sum(0);
    skip();
    if (error_.empty() && at_ != text_.size()) fail("unexpected text");
    if (!error_.empty()) {
      return make_error(Code::kInvalid, "InvalidDefinition",
                        "in expression \"" + std::string(text_) + "\": " + error_);
    }
    return value;
  }

 private:
  std::int64_t sum(int depth) {
    std::int64_t left = product(depth);
    for (;;) {
      const char op = peek();
      if (op != '+' && op != '-') return left;
      ++at_;
      const std::int64_t right = product(depth);
      std::int64_t out = 0;
      const bool over = op == '+' ? __builtin_add_overflow(left, right, &out)
                                  : __builtin_sub_overflow(left, right, &out);
      if (over) fail("overflow");
      left = out;
    }
  }
  std::int64_t product(int depth) {
    std::int64_t left = atom(depth);
    for (;;) {
      const char op = peek();
      if (op != '*' && op != '/' && op != '%') return left;
      ++at_;
      const std::int64_t right = atom(depth);
      if (op == '*') {
        std::int64_t out = 0;
        if (__builtin_mul_overflow(left, right, &out)) fail("overflow");
        left = out;
      } else if (right <= 0) {
        fail("division by zero or a negative number");
        return 0;
      } else if (op == '/') {
        if (left % right != 0) {
          fail(std::to_string(left) + " is not a multiple of " + std::to_string(right));
        }
        left /= right;
      } else {
        left %= right;
      }
    }
  }
  std::int64_t atom(int depth) {
    const char c = peek();
    if (c == '(') {
      if (depth >= kMaxNesting) {
        fail("too deeply nested");
        return 0;
      }
      ++at_;
      const std::int64_t value = sum(depth + 1);
      if (peek() != ')') fail("a ')' is missing");
      ++at_;
      return value;
    }
    if (std::isdigit(static_cast<unsigned char>(c)) != 0) {
      std::int64_t value = 0;
      while (at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_])) != 0) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, text_[at_] - '0', &value)) {
          fail("overflow");
          return 0;
        }
        ++at_;
      }
      return value;
    }
    if (std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_') {
      std::string name;
      while (at_ < text_.size() &&
             (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 || text_[at_] == '_')) {
        name.push_back(text_[at_++]);
      }
      auto it = variables_.find(name);
      if (it != variables_.end()) return it->second;
      fail("there is no variable \"" + name + "\"");
      return 0;
    }
    fail("a number, a variable or '(' is missing");
    ++at_;
    return 0;
  }
  void skip() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  char peek() {
    skip();
    return at_ < text_.size() && error_.empty() ? text_[at_] : '\0';
  }
  void fail(std::string what) {
    if (error_.empty()) error_ = std::move(what);
  }

  std::string_view text_;
  const std::map<std::string, std::int64_t>& variables_;
  std::size_t at_ = 0;
  std::string error_;
};

}  // namespace

Result<std::int64_t> evaluate_expression(std::string_view text,
                                         const std::map<std::string, std::int64_t>& variables) {
  if (text.size() > kMaxExpressionBytes) {
    return make_error(Code::kInvalid, "InvalidDefinition", "an expression is too long");
  }
  return Parser(text, variables).run();
}

}  // namespace tango::graph
