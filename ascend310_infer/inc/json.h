#ifndef ASCEND310_INFER_JSON_H_
#define ASCEND310_INFER_JSON_H_

#include <array>
#include <nlohmann/json.hpp>
#include <string>

// Parses JSON text. Refuses repeated keys, more than 100 levels, NaN, infinity and numbers beyond float64. Throws
// FileError.
nlohmann::json ParseJson(const std::string &text);

// Parses a JSON file of at most 256 MB. Throws InferError that names the file.
nlohmann::json ReadJson(const std::string &path);

// Members of an object, with their kind checked. Throws InferError naming the file, the key and what it has to be.
class JsonReader {
 public:
  JsonReader(const std::string &path, const nlohmann::json &json) : path_(path), json_(json) {}

  int Count(const std::string &key) const;  // from 1
  bool Bool(const std::string &key) const;
  std::string Text(const std::string &key) const;
  std::array<float, 3> Colors(const std::string &key) const;
  // `missing` if the key is absent or null.
  std::string TextOr(const std::string &key, const std::string &missing) const;
  std::array<int, 2> CountsOr(const std::string &key, const std::array<int, 2> &missing) const;

 private:
  [[noreturn]] void Fail(const std::string &key, const std::string &wanted) const;
  const nlohmann::json &Value(const std::string &key) const;  // null when there is no such key

  const std::string &path_;
  const nlohmann::json &json_;
};

#endif  // ASCEND310_INFER_JSON_H_
