#ifndef ASCEND310_INFER_JSON_H_
#define ASCEND310_INFER_JSON_H_

#include <array>
#include <map>
#include <string>
#include <variant>
#include <vector>

// A JSON value (RFC 8259). Written here since the program has to build with nothing but a compiler and OpenCV, whose
// own reader knows no null. Characters above U+FFFF in \u notation are kept as two surrogates.
class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::map<std::string, Json>;

  // Throws InferError that says at which byte it failed.
  static Json Parse(const std::string &text);

  // The value of a key; null when this is no object or has no such key.
  const Json *Find(const std::string &key) const;

  // What it holds, null when that is of another kind.
  const bool *AsBool() const { return std::get_if<bool>(&value_); }
  bool IsNull() const { return std::holds_alternative<std::nullptr_t>(value_); }
  const double *AsNumber() const { return std::get_if<double>(&value_); }
  const std::string *AsString() const { return std::get_if<std::string>(&value_); }
  const Array *AsArray() const { return std::get_if<Array>(&value_); }
  const Object *AsObject() const { return std::get_if<Object>(&value_); }

 private:
  friend class JsonParser;
  std::variant<std::nullptr_t, bool, double, std::string, Array, Object> value_ = nullptr;
};

// Members of an object, with their kind checked. Throws InferError naming the file, the key and what it has to be.
class JsonReader {
 public:
  JsonReader(const std::string &path, const Json &json) : path_(path), json_(json) {}

  int Count(const std::string &key) const;  // from 1
  bool Bool(const std::string &key) const;
  std::string Text(const std::string &key) const;
  std::array<float, 3> Colors(const std::string &key) const;
  // `missing` when there is no such key, or it is null.
  std::string TextOr(const std::string &key, const std::string &missing) const;
  std::array<int, 2> CountsOr(const std::string &key, const std::array<int, 2> &missing) const;

 private:
  [[noreturn]] void Fail(const std::string &key, const std::string &wanted) const;
  bool Has(const std::string &key) const;
  const Json &Value(const std::string &key) const;  // null when there is no such key

  const std::string &path_;
  const Json &json_;
};

// The text in quotation marks, with escapes where JSON wants them.
std::string JsonQuoted(const std::string &text);

#endif  // ASCEND310_INFER_JSON_H_
