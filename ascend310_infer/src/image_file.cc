// Formats: JPEG: ITU-T T.81 annex B; PNG: RFC 2083; EXIF: TIFF 6.0 section 2.
#include "image_file.h"

#include <algorithm>
#include <functional>
#include <opencv2/imgcodecs.hpp>

#include "errors.h"

namespace {

struct Size {
  int64_t height = 0;
  int64_t width = 0;
};

const uint8_t kPngMagic[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
constexpr uint8_t kEndOfImage = 0xD9, kStartOfScan = 0xDA, kApp1 = 0xE1;
constexpr int64_t kPixelsPerByte = 512;  // of a JPEG at most: every block of 8 x 8 pixels takes a bit
constexpr int kMaxScans = 32;  // as in src/data/images.py; encoders write about ten

// Reads unsigned numbers anywhere in a file; throws FileError beyond its end.
class Bytes {
 public:
  Bytes(const uint8_t *data, size_t size) : data_(data), size_(size) {}
  explicit Bytes(const std::vector<uint8_t> &data) : Bytes(data.data(), data.size()) {}

  size_t size() const { return size_; }

  uint64_t Number(size_t position, int bytes, bool big_endian) const {
    if (position > size_ || size_ - position < static_cast<size_t>(bytes)) {
      throw FileError("has no readable header; the file is broken");
    }
    uint64_t number = 0;
    for (int index = 0; index < bytes; ++index) {
      number = number << 8 | data_[position + (big_endian ? index : bytes - 1 - index)];
    }
    return number;
  }

  uint64_t Big(size_t position, int bytes) const { return Number(position, bytes, true); }
  uint64_t Little(size_t position, int bytes) const { return Number(position, bytes, false); }
  uint8_t operator[](size_t position) const { return data_[position]; }

  template <typename Text>
  bool StartsWith(const Text &text, size_t length) const {
    return size_ >= length && std::equal(text, text + length, data_, [](auto a, uint8_t b) {
      return static_cast<uint8_t>(a) == b;
    });
  }

  Bytes Part(size_t start, size_t end) const {
    end = std::min(end, size_);
    return start < end ? Bytes(data_ + start, end - start) : Bytes(data_, 0);
  }

 private:
  const uint8_t *data_;
  size_t size_;
};

bool IsJpeg(const Bytes &file) { return file.StartsWith("\xFF\xD8", 2); }
bool IsPng(const Bytes &file) { return file.StartsWith(kPngMagic, sizeof(kPngMagic)); }
bool IsBmp(const Bytes &file) { return file.StartsWith("BM", 2); }

// Calls visit(marker, start, end of its content) in the order of the file, until it returns true or the structure
// breaks; returns whether it did return true.
bool VisitJpegSegments(const Bytes &file, const std::function<bool(uint8_t, size_t, size_t)> &visit) {
  size_t position = 2;
  while (position + 2 <= file.size() && file[position] == 0xFF) {
    const uint8_t marker = file[position + 1];
    if (marker == 0xFF) {  // fill byte
      ++position;
      continue;
    }
    if (marker == kEndOfImage) {
      return visit(marker, position + 2, position + 2);
    }
    if (position + 4 > file.size()) {
      return false;
    }
    const size_t end = position + 2 + file.Big(position + 2, 2);
    if (visit(marker, position + 4, end)) {
      return true;
    }
    position = end;
    if (marker == kStartOfScan) {
      // In compressed data FF is followed by 00 or a restart marker; any other byte ends the data.
      const auto inside = [&](uint8_t next) { return next == 0x00 || (next >= 0xD0 && next <= 0xD7) || next == 0xFF; };
      while (position + 2 <= file.size() && (file[position] != 0xFF || inside(file[position + 1]))) {
        ++position;
      }
    }
  }
  return false;
}

Size JpegSize(const Bytes &file) {
  Size size;
  VisitJpegSegments(file, [&](uint8_t marker, size_t start, size_t) {
    const bool frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (frame) {
      size = {static_cast<int64_t>(file.Big(start + 1, 2)), static_cast<int64_t>(file.Big(start + 3, 2))};
    }
    return frame;
  });
  return size;
}

int JpegScans(const Bytes &file) {
  int scans = 0;
  VisitJpegSegments(file, [&](uint8_t marker, size_t, size_t) {
    scans += marker == kStartOfScan;
    return scans > kMaxScans;
  });
  return scans;
}

Size BmpSize(const Bytes &file) {
  if (file.Little(14, 4) == 12) {
    return {static_cast<int64_t>(file.Little(20, 2)), static_cast<int64_t>(file.Little(18, 2))};
  }
  const int64_t height = static_cast<int32_t>(file.Little(22, 4));  // negative: rows run from the top
  return {height < 0 ? -height : height, static_cast<int32_t>(file.Little(18, 4))};
}

Size StoredSize(const Bytes &file) {
  Size size;
  if (IsJpeg(file)) {
    size = JpegSize(file);
  } else if (IsPng(file)) {
    size = {static_cast<int64_t>(file.Big(20, 4)), static_cast<int64_t>(file.Big(16, 4))};
  } else if (IsBmp(file)) {
    size = BmpSize(file);
  } else {
    throw FileError("is neither JPEG nor PNG nor BMP");
  }
  if (size.height < 1 || size.width < 1) {
    throw FileError("has no readable header; the file is broken");
  }
  return size;
}

// Whether all chunks end inside the file.
bool PngIsComplete(const Bytes &file) {
  size_t position = sizeof(kPngMagic);
  bool ended = false;
  while (!ended && position + 12 <= file.size()) {
    ended = file.Big(position + 4, 4) == 0x49454E44;  // IEND
    position += 12 + file.Big(position, 4);
  }
  return ended && position <= file.size();
}

bool BmpIsComplete(const Bytes &file) {
  const Size size = BmpSize(file);
  const bool old = file.Little(14, 4) == 12;
  const uint64_t bits = file.Little(old ? 24 : 28, 2), compression = old ? 0 : file.Little(30, 4);
  // Run-length encoded rows (1 and 2) have no fixed length.
  const uint64_t row = compression == 1 || compression == 2 ? 0 : (size.width * bits + 31) / 32 * 4;
  return file.size() >= file.Little(10, 4) + row * size.height;
}

// Checked because OpenCV fills missing rows with grey and does not report it.
bool IsComplete(const Bytes &file) {
  if (IsJpeg(file)) {
    return VisitJpegSegments(file, [](uint8_t marker, size_t, size_t) { return marker == kEndOfImage; });
  }
  return IsPng(file) ? PngIsComplete(file) : BmpIsComplete(file);
}

int TiffOrientation(const Bytes &tiff) {
  const bool big = tiff.StartsWith("MM", 2);
  if (!big && !tiff.StartsWith("II", 2)) {
    return 1;
  }
  const size_t directory = tiff.Number(4, 4, big);
  const size_t entries = tiff.Number(directory, 2, big);
  for (size_t index = 0; index < entries; ++index) {
    const size_t entry = directory + 2 + 12 * index;
    if (tiff.Number(entry, 2, big) == 0x0112) {
      const uint64_t kind = tiff.Number(entry + 2, 2, big), count = tiff.Number(entry + 4, 4, big);
      const uint64_t value = tiff.Number(entry + 8, 2, big);
      return kind == 3 && count == 1 && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
    }
  }
  return 1;
}

// 1 (as stored) if the file has no orientation or it is unreadable.
int ExifOrientation(const Bytes &file) {
  int orientation = 1;
  if (IsJpeg(file)) {
    VisitJpegSegments(file, [&](uint8_t marker, size_t start, size_t end) {
      const Bytes content = file.Part(start, end);
      const bool exif = marker == kApp1 && content.StartsWith("Exif\0\0", 6);
      if (exif) {
        try {
          orientation = TiffOrientation(content.Part(6, content.size()));
        } catch (const FileError &) {  // a broken EXIF block does not break the image
        }
      }
      return exif;
    });
  }
  return orientation;
}

// The image upright: orientations 5 to 8 swap rows and columns, the others only mirror.
cv::Mat Turned(const cv::Mat &image, int orientation) {
  cv::Mat turned;
  if (orientation >= 5) {
    cv::transpose(image, turned);
  } else {
    turned = image;
  }
  const bool rows = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  const bool columns = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  if (rows || columns) {
    cv::flip(turned, turned, rows && columns ? -1 : (rows ? 0 : 1));
  }
  return turned;
}

// Of a 16-bit image the 8 highest of the bits in use, as src/data/images.py takes them: cameras of 10, 12 or 14 bits
// store their values in 16 bits as they are.
cv::Mat As8Bits(const cv::Mat &image) {
  if (image.depth() != CV_16U) {
    return image;
  }
  double largest = 0;
  cv::minMaxLoc(image.reshape(1), nullptr, &largest);
  int shift = 0;
  while (static_cast<int>(largest) >> shift > 255) {
    ++shift;
  }
  cv::Mat bytes(image.size(), CV_8UC(image.channels()));
  for (int row = 0; row < image.rows; ++row) {
    const uint16_t *from = image.ptr<uint16_t>(row);
    std::transform(from, from + static_cast<size_t>(image.cols) * image.channels(), bytes.ptr<uint8_t>(row),
                   [shift](uint16_t value) { return static_cast<uint8_t>(value >> shift); });
  }
  return bytes;
}

}  // namespace

cv::Size CheckImage(const std::vector<uint8_t> &data, int max_pixels) {
  const Bytes file(data);
  const Size size = StoredSize(file);
  if (size.height > max_pixels / size.width) {  // a product of two sides of a PNG could overflow
    throw FileError(std::to_string(size.width) + " x " + std::to_string(size.height) + " is more than " +
                    std::to_string(max_pixels) +
                    " pixels; shrink it, or raise --max_image_pixels if you trust the file");
  }
  const bool too_small = IsJpeg(file) && size.width * size.height > kPixelsPerByte * static_cast<int64_t>(data.size());
  if (too_small || !IsComplete(file)) {
    throw FileError("the file breaks off before the end of the image; fetch it again");
  }
  if (IsJpeg(file) && JpegScans(file) > kMaxScans) {
    throw FileError("has more than " + std::to_string(kMaxScans) +
                    " scans, each of which is decoded for the whole image; save it again");
  }
  return {static_cast<int>(size.width), static_cast<int>(size.height)};
}

Image DecodeImage(const std::vector<uint8_t> &data, int orientation, int max_pixels) {
  const cv::Size size = CheckImage(data, max_pixels);
  Image image;
  try {
    image.bgr = As8Bits(cv::imdecode(data, cv::IMREAD_COLOR | cv::IMREAD_ANYDEPTH | cv::IMREAD_IGNORE_ORIENTATION));
  } catch (const cv::Exception &error) {
    throw FileError("cannot be decoded: " + error.err);
  }
  if (image.bgr.size() != size) {
    throw FileError("cannot be decoded, the file is broken or of a rare kind; save it again as JPEG");
  }
  image.orientation = orientation == kOwnOrientation ? ExifOrientation(Bytes(data)) : orientation;
  image.bgr = Turned(image.bgr, image.orientation);
  return image;
}

uint64_t MaxBytes(int max_pixels) { return 8 * static_cast<uint64_t>(max_pixels) + (uint64_t{64} << 20); }
