#include "json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "errors.h"
#include "files.h"

namespace {

using nlohmann::json;

constexpr int kMaxDepth = 100;  // deeper than any file of ours
constexpr uint64_t kMaxBytes = uint64_t{256} << 20;
constexpr double kLargestCount = 1e6;

bool IsCount(const json &value) {
  const double number = value.is_number() ? value.get<double>() : 0;
  return number >= 1 && number <= kLargestCount && number == std::floor(number);
}

bool IsColor(const json &value) {
  return value.is_number() && std::fabs(value.get<double>()) <= std::numeric_limits<float>::max();
}

// Called for every part of a document; the library itself lets the last of two equal keys win.
class Strictness {
 public:
  bool operator()(int depth, json::parse_event_t event, json &value) {
    if (depth > kMaxDepth) {
      throw FileError("not valid JSON: nested too deeply, more than " + std::to_string(kMaxDepth) + " levels");
    }
    if (event == json::parse_event_t::object_start) {
      keys_.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys_.pop_back();
    } else if (event == json::parse_event_t::key && !keys_.back().insert(value.get<std::string>()).second) {
      throw FileError("not valid JSON: the key '" + Shown(value.get<std::string>()) + "' stands twice in one object");
    }
    return true;
  }

 private:
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

}  // namespace

json ParseJson(const std::string &text) {
  Strictness strictness;
  try {
    return json::parse(text, [&](int depth, json::parse_event_t event, json &value) {
      return strictness(depth, event, value);
    });
  } catch (const json::exception &error) {
    const std::string all = error.what();  // "[json.exception.parse_error.101] parse error at line 1, ..."
    throw FileError("not valid JSON: " + all.substr(std::min(all.size(), all.find("] ") + 2)));
  }
}

json ReadJson(const std::string &path) {
  std::vector<uint8_t> data;
  try {
    data = ReadBytes(path, kMaxBytes);
  } catch (const FileError &error) {
    throw InferError(path + " " + error.what());
  }
  try {
    return ParseJson({data.begin(), data.end()});
  } catch (const FileError &error) {
    throw InferError(path + " is " + error.what());
  }
}

const json &JsonReader::Value(const std::string &key) const {
  static const json nothing;
  const auto found = json_.is_object() ? json_.find(key) : json_.end();
  return json_.is_object() && found != json_.end() ? *found : nothing;
}

int JsonReader::Count(const std::string &key) const {
  if (!IsCount(Value(key))) {
    Fail(key, "a whole number from 1");
  }
  return Value(key).get<int>();
}

bool JsonReader::Bool(const std::string &key) const {
  if (!Value(key).is_boolean()) {
    Fail(key, "true or false");
  }
  return Value(key).get<bool>();
}

std::string JsonReader::Text(const std::string &key) const {
  if (!Value(key).is_string()) {
    Fail(key, "a text");
  }
  return Value(key).get<std::string>();
}

std::array<float, 3> JsonReader::Colors(const std::string &key) const {
  const json &numbers = Value(key);
  if (!numbers.is_array() || numbers.size() != 3 || !std::all_of(numbers.begin(), numbers.end(), IsColor)) {
    Fail(key, "three numbers");
  }
  return numbers.get<std::array<float, 3>>();
}

std::string JsonReader::TextOr(const std::string &key, const std::string &missing) const {
  return Value(key).is_null() ? missing : Text(key);
}

std::array<int, 2> JsonReader::CountsOr(const std::string &key, const std::array<int, 2> &missing) const {
  const json &numbers = Value(key);
  if (numbers.is_null()) {
    return missing;
  }
  if (!numbers.is_array() || numbers.size() != 2 || !std::all_of(numbers.begin(), numbers.end(), IsCount)) {
    Fail(key, "two whole numbers from 1");
  }
  return numbers.get<std::array<int, 2>>();
}

void JsonReader::Fail(const std::string &key, const std::string &wanted) const {
  throw InferError(path_ + ": " + key + " has to be " + wanted + "; write the file again");
}
