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
  for (; started_threads_ < threads_; ++started_threads_) std::thread(&Pool::work, this, started_threads_).detach();
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
    busy_ = threads_ - 1;
    ++round_;
  }
  if (threads_ > 1) started_.notify_all();
  take_tasks();
  std::unique_lock<std::mutex> hold(lock_);
  finished_.wait(hold, [this] { return busy_ == 0; });
}

void Pool::take_tasks() {
  inside_ = true;
  for (int64_t number; (number = next_++) < count_;) (*task_)(number);
  inside_ = false;
}

void Pool::work(int number) {
  uint64_t seen = 0;
  while (true) {
    {
      std::unique_lock<std::mutex> hold(lock_);
      started_.wait(hold, [&] { return round_ != seen && number < threads_; });
      seen = round_;
    }
    take_tasks();
    std::lock_guard<std::mutex> hold(lock_);
    if (--busy_ == 0) finished_.notify_one();
  }
}

}  // namespace native

extern "C" void set_threads(int count) { native::Pool::get().set_threads(count); }
