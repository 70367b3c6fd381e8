#include "pool.h"

#include <sched.h>

#include <algorithm>
#include <thread>

namespace native {

thread_local bool Pool::inside_ = false;

Pool::Pool() {
  cpu_set_t cores;
  set_threads(sched_getaffinity(0, sizeof(cores), &cores) == 0 ? CPU_COUNT(&cores) : 1);
}

void Pool::set_threads(int count) {
  std::lock_guard<std::mutex> alone(caller_);
  std::lock_guard<std::mutex> hold(lock_);
  threads_ = std::max(count, 1);
  for (; started_ < threads_; ++started_) std::thread(&Pool::work, this, started_, round_).detach();
}

void Pool::run(int64_t count, const std::function<void(int64_t)> &task) {
  std::unique_lock<std::mutex> caller(caller_, std::defer_lock);
  if (inside_ || count == 1 || !caller.try_lock()) {
    for (int64_t number = 0; number < count; ++number) task(number);
    return;
  }
  {
    std::lock_guard<std::mutex> hold(lock_);
    task_ = &task;
    count_ = count;
    next_ = 0;
    busy_ = started_ - 1;
    ++round_;
  }
  if (started_ > 1) begun_.notify_all();
  take_tasks();
  std::unique_lock<std::mutex> hold(lock_);
  finished_.wait(hold, [this] { return busy_ == 0; });
}

void Pool::take_tasks() {
  inside_ = true;
  for (int64_t number; (number = next_++) < count_;) (*task_)(number);
  inside_ = false;
}

// Every thread that was started takes part in every round, one that is not wanted now by doing nothing: so busy_ is
// right whenever the number of threads changes.
void Pool::work(int number, uint64_t seen) {
  while (true) {
    bool wanted;
    {
      std::unique_lock<std::mutex> hold(lock_);
      begun_.wait(hold, [&] { return round_ != seen; });
      seen = round_;
      wanted = number < threads_;
    }
    if (wanted) take_tasks();
    std::lock_guard<std::mutex> hold(lock_);
    if (--busy_ == 0) finished_.notify_one();
  }
}

}  // namespace native

extern "C" void set_threads(int count) { native::Pool::get().set_threads(count); }
