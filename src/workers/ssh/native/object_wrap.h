// node::ObjectWrap as it was before Node 24.19, to be included in front of everything (-include) when addons are built.
// The one of 24.19 to 24.x registers a cleanup hook whose removal ends the process during garbage collection
// (nodejs/node#65446, mscdex/ssh2#1511). The guard keeps the header of that Node out.
//   CXXFLAGS="-include $PWD/object_wrap.h" npm rebuild ssh2
#ifndef SRC_NODE_OBJECT_WRAP_H_
#define SRC_NODE_OBJECT_WRAP_H_
#include <cassert>
#include "node.h"
namespace node {
class ObjectWrap {
 public:
  ObjectWrap() { refs_ = 0; }
  virtual ~ObjectWrap() {
    if (persistent().IsEmpty()) return;
    persistent().ClearWeak();
    persistent().Reset();
  }
  template <class T>
  static inline T* Unwrap(v8::Local<v8::Object> handle) {
    assert(!handle.IsEmpty());
    assert(handle->InternalFieldCount() > 0);
    void* ptr = handle->GetAlignedPointerFromInternalField(0);
    return static_cast<T*>(static_cast<ObjectWrap*>(ptr));
  }
  inline v8::Local<v8::Object> handle() { return handle(v8::Isolate::GetCurrent()); }
  inline v8::Local<v8::Object> handle(v8::Isolate* isolate) { return v8::Local<v8::Object>::New(isolate, persistent()); }
  inline v8::Persistent<v8::Object>& persistent() { return handle_; }

 protected:
  inline void Wrap(v8::Local<v8::Object> handle) {
    assert(persistent().IsEmpty());
    handle->SetAlignedPointerInInternalField(0, this);
    persistent().Reset(v8::Isolate::GetCurrent(), handle);
    MakeWeak();
  }
  inline void MakeWeak() { persistent().SetWeak(this, WeakCallback, v8::WeakCallbackType::kParameter); }
  virtual void Ref() { persistent().ClearWeak(); refs_++; }
  virtual void Unref() { if (--refs_ == 0) MakeWeak(); }
  int refs_;

 private:
  static void WeakCallback(const v8::WeakCallbackInfo<ObjectWrap>& data) {
    ObjectWrap* wrap = data.GetParameter();
    wrap->handle_.Reset();
    delete wrap;
  }
  v8::Persistent<v8::Object> handle_;
};
}  // namespace node
#endif
