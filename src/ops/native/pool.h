// Threads for the operators of this library.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>

namespace native {

// Runs tasks on this thread and on threads of its own. What a task computes never depends on the thread that runs it
// or on how many there are, so results do not either.
class Pool {
 public:
  // The threads are never joined: a process may end while MindSpore still holds this library.
  static Pool &get() {
    static Pool &pool = *new Pool;
    return pool;
  }

  // Tasks 0 to count - 1, in any order; returns when all are done. Inside of a task, or while another thread is here,
  // the calling thread does all of them.
  void run(int64_t count, const std::function<void(int64_t)> &task);

  void set_threads(int count);
  int threads() const { return threads_; }
  bool inside() const { return inside_; }

 private:
  Pool();
  void work(int number, uint64_t seen);
  void take_tasks();

  std::mutex caller_, lock_;
  std::condition_variable begun_, finished_;
  const std::function<void(int64_t)> *task_ = nullptr;
  std::atomic<int64_t> next_{0};
  int64_t count_ = 0;
  uint64_t round_ = 0;
  int threads_ = 1, started_ = 1, busy_ = 0;     // this thread is one of them
  static thread_local bool inside_;
};

}  // namespace native
