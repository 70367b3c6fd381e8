#ifndef ASCEND310_INFER_READER_H_
#define ASCEND310_INFER_READER_H_

#include <deque>
#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "dvpp.h"
#include "flags.h"
#include "result_folder.h"

// One image before it goes to the network.
struct Prepared {
  std::string name;         // of its results: the file name up to the last dot, below input0_path with its folders
  std::string path;         // for messages
  ImageSize size;
  std::vector<char> input;  // of one row of the batch
  std::string error;        // why it could not be read; empty: it could
  double ms = 0;
};

// Name -> size of the images in preprocess.py's sizes.json. Throws InferError.
std::map<std::string, ImageSize> ReadSizes(const std::string &path);

// Name -> EXIF orientation that replaces the image's own. Throws InferError.
std::map<std::string, int> ReadOrientations(const std::string &path);

// Reads images or prepared inputs in any number of threads.
class Reader {
 public:
  explicit Reader(const Options &options);

  // The files to read, by name, including unreadable ones, without files of other kinds. Throws UsageError.
  std::vector<std::filesystem::path> Files() const;

  Prepared Read(const std::filesystem::path &path) const;

 private:
  std::string NameOf(const std::filesystem::path &path) const;
  void ReadImage(const std::filesystem::path &path, Prepared *prepared) const;
  void ReadInput(const std::filesystem::path &path, Prepared *prepared) const;

  const Options &options_;
  std::map<std::string, ImageSize> sizes_;
  std::map<std::string, int> orientations_;
  std::unique_ptr<Dvpp> dvpp_;
};

// Reads files ahead in several threads and returns them in order.
class ReadAhead {
 public:
  ReadAhead(const Reader &reader, std::vector<std::filesystem::path> files, int threads)
      : reader_(reader), files_(std::move(files)), ahead_(static_cast<size_t>(threads)) {}

  bool Done() const { return next_ == files_.size() && waiting_.empty(); }

  Prepared Next() {
    while (next_ < files_.size() && waiting_.size() < ahead_ + 1) {
      waiting_.push_back(std::async(std::launch::async, &Reader::Read, &reader_, files_[next_++]));
    }
    Prepared prepared = waiting_.front().get();
    waiting_.pop_front();
    return prepared;
  }

 private:
  const Reader &reader_;
  std::vector<std::filesystem::path> files_;
  size_t ahead_;
  size_t next_ = 0;
  std::deque<std::future<Prepared>> waiting_;
};

#endif  // ASCEND310_INFER_READER_H_
