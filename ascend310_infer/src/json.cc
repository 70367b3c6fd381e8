#include "json.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "errors.h"

namespace {
constexpr int kMaxDepth = 100;  // deeper than any description, and far from the end of the stack
constexpr double kLargestCount = 1e6;

bool IsCount(const Json &json) {
  const double *number = json.AsNumber();
  return number != nullptr && *number >= 1 && *number <= kLargestCount && *number == std::floor(*number);
}

}  // namespace

class JsonParser {
 public:
  explicit JsonParser(const std::string &text) : text_(text) {}

  Json Document() {
    Json value = Value(0);
    SkipSpace();
    if (position_ != text_.size()) {
      Fail("more text after the end");
    }
    return value;
  }

 private:
  [[noreturn]] void Fail(const std::string &what) const {
    throw InferError("not valid JSON at byte " + std::to_string(position_) + ": " + what);
  }

  void SkipSpace() {
    position_ = std::min(text_.find_first_not_of(" \t\r\n", position_), text_.size());
  }

  bool Take(const std::string &word) {
    if (text_.compare(position_, word.size(), word) != 0) {
      return false;
    }
    position_ += word.size();
    return true;
  }

  void Expect(const std::string &word) {
    SkipSpace();
    if (!Take(word)) {
      Fail("expected " + word);
    }
  }

  Json Value(int depth) {
    if (depth > kMaxDepth) {
      Fail("nested too deeply");
    }
    SkipSpace();
    Json json;
    if (Take("{")) {
      json.value_ = Members(depth);
    } else if (Take("[")) {
      json.value_ = Elements(depth);
    } else if (Take("\"")) {
      json.value_ = Text();
    } else if (Take("true")) {
      json.value_ = true;
    } else if (Take("false")) {
      json.value_ = false;
    } else if (!Take("null")) {
      json.value_ = Number();
    }
    return json;
  }

  Json::Object Members(int depth) {
    Json::Object members;
    SkipSpace();
    if (Take("}")) {
      return members;
    }
    do {
      Expect("\"");
      const std::string key = Text();
      Expect(":");
      members[key] = Value(depth + 1);
      SkipSpace();
    } while (Take(","));
    Expect("}");
    return members;
  }

  Json::Array Elements(int depth) {
    Json::Array elements;
    SkipSpace();
    if (Take("]")) {
      return elements;
    }
    do {
      elements.push_back(Value(depth + 1));
      SkipSpace();
    } while (Take(","));
    Expect("]");
    return elements;
  }

  std::string Text() {
    std::string text;
    while (position_ < text_.size()) {
      const char character = text_[position_++];
      if (character == '"') {
        return text;
      }
      text += character == '\\' ? Escape() : std::string(1, character);
    }
    Fail("a text does not end");
  }

  std::string Escape() {
    static const std::map<char, std::string> simple = {{'"', "\""}, {'\\', "\\"}, {'/', "/"},  {'b', "\b"},
                                                       {'f', "\f"}, {'n', "\n"},  {'r', "\r"}, {'t', "\t"}};
    if (position_ < text_.size()) {
      const char letter = text_[position_++];
      const auto found = simple.find(letter);
      if (found != simple.end()) {
        return found->second;
      }
      if (letter == 'u') {
        return Utf8(HexDigits());
      }
    }
    Fail("unknown escape");
  }

  unsigned HexDigits() {
    const std::string digits = text_.substr(position_, 4);
    if (digits.size() != 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) {
      Fail("expected four hexadecimal digits");
    }
    position_ += 4;
    return static_cast<unsigned>(std::stoul(digits, nullptr, 16));
  }

  static std::string Utf8(unsigned code) {
    if (code < 0x80) {
      return {static_cast<char>(code)};
    }
    const char last = static_cast<char>(0x80 | (code & 0x3F));
    if (code < 0x800) {
      return {static_cast<char>(0xC0 | (code >> 6)), last};
    }
    return {static_cast<char>(0xE0 | (code >> 12)), static_cast<char>(0x80 | ((code >> 6) & 0x3F)), last};
  }

  double Number() {
    const size_t end = std::min(text_.find_first_not_of("+-.0123456789eE", position_), text_.size());
    const std::string digits = text_.substr(position_, end - position_);
    char *stop = nullptr;
    const double number = std::strtod(digits.c_str(), &stop);
    if (digits.empty() || *stop != '\0') {
      Fail("expected a value");
    }
    position_ = end;
    return number;
  }

  const std::string &text_;
  size_t position_ = 0;
};

Json Json::Parse(const std::string &text) { return JsonParser(text).Document(); }

const Json *Json::Find(const std::string &key) const {
  const Object *members = AsObject();
  if (members == nullptr) {
    return nullptr;
  }
  const auto found = members->find(key);
  return found == members->end() ? nullptr : &found->second;
}

bool JsonReader::Has(const std::string &key) const { return !Value(key).IsNull(); }

const Json &JsonReader::Value(const std::string &key) const {
  static const Json null;
  const Json *value = json_.Find(key);
  return value == nullptr ? null : *value;
}

int JsonReader::Count(const std::string &key) const {
  if (!IsCount(Value(key))) {
    Fail(key, "a whole number from 1");
  }
  return static_cast<int>(*Value(key).AsNumber());
}

bool JsonReader::Bool(const std::string &key) const {
  const bool *flag = Value(key).AsBool();
  if (flag == nullptr) {
    Fail(key, "true or false");
  }
  return *flag;
}

std::string JsonReader::Text(const std::string &key) const {
  const std::string *text = Value(key).AsString();
  if (text == nullptr) {
    Fail(key, "a text");
  }
  return *text;
}

std::array<float, 3> JsonReader::Colors(const std::string &key) const {
  const Json::Array *numbers = Value(key).AsArray();
  std::array<float, 3> colors{};
  for (size_t index = 0; index < colors.size(); ++index) {
    const bool three = numbers != nullptr && numbers->size() == colors.size();
    const double *number = three ? (*numbers)[index].AsNumber() : nullptr;
    if (number == nullptr) {
      Fail(key, "three numbers");
    }
    colors[index] = static_cast<float>(*number);
  }
  return colors;
}

std::string JsonReader::TextOr(const std::string &key, const std::string &missing) const {
  return Has(key) ? Text(key) : missing;
}

std::array<int, 2> JsonReader::CountsOr(const std::string &key, const std::array<int, 2> &missing) const {
  if (!Has(key)) {
    return missing;
  }
  const Json::Array *numbers = Value(key).AsArray();
  if (numbers == nullptr || numbers->size() != 2 || !std::all_of(numbers->begin(), numbers->end(), IsCount)) {
    Fail(key, "two whole numbers from 1");
  }
  return {static_cast<int>(*(*numbers)[0].AsNumber()), static_cast<int>(*(*numbers)[1].AsNumber())};
}

void JsonReader::Fail(const std::string &key, const std::string &wanted) const {
  throw InferError(path_ + ": " + key + " has to be " + wanted + "; write the file again");
}

std::string JsonQuoted(const std::string &text) {
  std::string quoted = "\"";
  for (const char character : text) {
    if (character == '"' || character == '\\') {
      quoted += '\\';
      quoted += character;
    } else if (static_cast<unsigned char>(character) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\u%04x", static_cast<unsigned>(character));
      quoted += escape;
    } else {
      quoted += character;
    }
  }
  return quoted + "\"";
}
