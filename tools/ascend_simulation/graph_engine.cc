// The classes of CANN's graph engine (namespace ge) that MindSpore's plugin builds and copies when it looks a kernel up:
// texts, shapes, descriptions of tensors, and operators. They keep what they are given and compute nothing. Each consists
// of one shared pointer, as the plugin expects; an operator is polymorphic besides.
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace ge {
enum DataType : int {};
enum Format : int {};

class AscendString {
 public:
  AscendString(const char *text);
  const char *GetString() const;
  bool operator<(const AscendString &other) const;

 private:
  std::shared_ptr<std::string> text_;
};

AscendString::AscendString(const char *text) : text_(std::make_shared<std::string>(text == nullptr ? "" : text)) {}

const char *AscendString::GetString() const { return text_ == nullptr ? "" : text_->c_str(); }

bool AscendString::operator<(const AscendString &other) const { return std::strcmp(GetString(), other.GetString()) < 0; }

class Shape {
 public:
  Shape();
  explicit Shape(const std::vector<int64_t> &sides);
  size_t GetDimNum() const;
  int64_t GetDim(size_t index) const;
  uint32_t SetDim(size_t index, int64_t side);
  std::vector<int64_t> GetDims() const;

 private:
  std::shared_ptr<std::vector<int64_t>> sides_;
};

Shape::Shape() : Shape(std::vector<int64_t>()) {}

Shape::Shape(const std::vector<int64_t> &sides) : sides_(std::make_shared<std::vector<int64_t>>(sides)) {}

size_t Shape::GetDimNum() const { return sides_->size(); }

int64_t Shape::GetDim(size_t index) const { return index < sides_->size() ? (*sides_)[index] : 0; }

uint32_t Shape::SetDim(size_t index, int64_t side) {
  if (index >= sides_->size()) {
    return 1;
  }
  (*sides_)[index] = side;
  return 0;
}

std::vector<int64_t> Shape::GetDims() const { return *sides_; }

class TensorDesc {
 public:
  TensorDesc();
  TensorDesc(Shape shape, Format format, DataType type);
  TensorDesc(const TensorDesc &other);
  TensorDesc(TensorDesc &&other);
  Shape GetShape() const;
  Shape GetOriginShape() const;
  Format GetFormat() const;
  DataType GetDataType() const;
  void SetShape(const Shape &shape);
  void SetOriginShape(const Shape &shape);
  void SetFormat(Format format);
  void SetDataType(DataType type);

 private:
  struct Content {
    Shape shape, origin;
    Format format;
    DataType type;
  };
  std::shared_ptr<Content> content_;
};

TensorDesc::TensorDesc() : TensorDesc(Shape(), Format(), DataType()) {}

TensorDesc::TensorDesc(Shape shape, Format format, DataType type)
    : content_(std::make_shared<Content>(Content{shape, shape, format, type})) {}

TensorDesc::TensorDesc(const TensorDesc &other) : content_(std::make_shared<Content>(*other.content_)) {}

TensorDesc::TensorDesc(TensorDesc &&other) : content_(other.content_) {}

Shape TensorDesc::GetShape() const { return content_->shape; }

Shape TensorDesc::GetOriginShape() const { return content_->origin; }

Format TensorDesc::GetFormat() const { return content_->format; }

DataType TensorDesc::GetDataType() const { return content_->type; }

void TensorDesc::SetShape(const Shape &shape) { content_->shape = shape; }

void TensorDesc::SetOriginShape(const Shape &shape) { content_->origin = shape; }

void TensorDesc::SetFormat(Format format) { content_->format = format; }

void TensorDesc::SetDataType(DataType type) { content_->type = type; }

class Operator {
 public:
  explicit Operator(const char *type);
  explicit Operator(const std::string &type);
  Operator(const char *name, const char *type);
  Operator(const std::string &name, const std::string &type);
  Operator(const AscendString &name, const AscendString &type);
  virtual ~Operator() = default;
  std::string GetName() const;
  std::string GetOpType() const;
  uint32_t GetName(AscendString &name) const;
  uint32_t GetOpType(AscendString &type) const;

 private:
  struct Content {
    std::string name, type;
  };
  std::shared_ptr<Content> content_;
};

Operator::Operator(const char *type) : Operator("", type) {}

Operator::Operator(const std::string &type) : Operator(std::string(), type) {}

Operator::Operator(const char *name, const char *type) : Operator(std::string(name), std::string(type)) {}

Operator::Operator(const std::string &name, const std::string &type)
    : content_(std::make_shared<Content>(Content{name, type})) {}

Operator::Operator(const AscendString &name, const AscendString &type) : Operator(name.GetString(), type.GetString()) {}

std::string Operator::GetName() const { return content_->name; }

std::string Operator::GetOpType() const { return content_->type; }

uint32_t Operator::GetName(AscendString &name) const {
  name = AscendString(content_->name.c_str());
  return 0;
}

uint32_t Operator::GetOpType(AscendString &type) const {
  type = AscendString(content_->type.c_str());
  return 0;
}

class OperatorFactory {
 public:
  static Operator CreateOperator(const char *name, const char *type);
  static Operator CreateOperator(const std::string &name, const std::string &type);
};

Operator OperatorFactory::CreateOperator(const char *name, const char *type) { return Operator(name, type); }

Operator OperatorFactory::CreateOperator(const std::string &name, const std::string &type) {
  return Operator(name, type);
}
}  // namespace ge
