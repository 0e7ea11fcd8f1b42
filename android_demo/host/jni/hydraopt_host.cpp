// The native methods of ExecuTorch's Android classes for a JVM on this machine: plain JNI on the
// ExecuTorch libraries of the Python package. The AAR's own classes and the stand-ins of
// host/executorch-api declare the same methods, so that both run on it.

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/backend/interface.h>
#include <executorch/runtime/core/exec_aten/util/scalar_type_util.h>
#include <executorch/runtime/platform/platform.h>
#include <executorch/runtime/platform/runtime.h>

#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "jvm.h"
#include "threadpool.hpp"

using executorch::aten::ScalarType;
using executorch::aten::SizesType;
using executorch::aten::Tensor;
using executorch::extension::make_tensor_ptr;
using executorch::extension::Module;
using executorch::extension::TensorPtr;
using executorch::runtime::BackendOption;
using executorch::runtime::Error;
using executorch::runtime::EValue;

namespace {

enum TypeCode { kNone = 0, kTensor = 1, kDouble = 3, kInt = 4, kBool = 5 };  // EValue.mTypeCode

#define EVALUE "Lorg/pytorch/executorch/EValue;"
#define TENSOR "Lorg/pytorch/executorch/Tensor;"
#define HYBRID "Lcom/facebook/jni/HybridData;"

// The runtime's last messages, which errors quote.
std::mutex log_mutex;
std::deque<std::string> log_lines;

void keep_log(et_timestamp_t, et_pal_log_level_t, const char*, const char*, size_t,
              const char* message, size_t length) {
  std::lock_guard<std::mutex> lock(log_mutex);
  if (log_lines.size() == 16) log_lines.pop_front();
  log_lines.emplace_back(message, length);
}

jobjectArray last_log(JNIEnv* env) {
  return entry(env, [](Jvm jvm) {
    std::lock_guard<std::mutex> lock(log_mutex);
    return jvm.texts(log_lines);
  });
}

// A HybridData that owns `module`; without one, an empty one.
jobject hybrid(const Jvm& jvm, std::unique_ptr<Module> module) {
  jclass type = jvm.type("com/facebook/jni/HybridData");
  jobject data = jvm.ok(jvm.env->NewObject(type, jvm.method(type, "<init>", "()V")));
  if (module) {
    jfieldID field = jvm.ok(
        jvm.env->GetFieldID(type, "mDestructor", "Lcom/facebook/jni/HybridData$Destructor;"));
    jobject owner = jvm.env->GetObjectField(data, field);
    jfieldID pointer =
        jvm.ok(jvm.env->GetFieldID(jvm.env->GetObjectClass(owner), "mNativePointer", "J"));
    jvm.env->SetLongField(owner, pointer, reinterpret_cast<jlong>(module.release()));
  }
  jvm.env->DeleteLocalRef(type);
  return data;
}

Module& module_of(const Jvm& jvm, jobject self) {
  auto member = [&](jobject of, const char* name, const char* signature) {
    return jvm.ok(jvm.env->GetFieldID(jvm.env->GetObjectClass(of), name, signature));
  };
  jobject data = jvm.env->GetObjectField(self, member(self, "mHybridData", HYBRID));
  jobject owner = jvm.env->GetObjectField(
      data, member(data, "mDestructor", "Lcom/facebook/jni/HybridData$Destructor;"));
  jlong pointer = jvm.env->GetLongField(owner, member(owner, "mNativePointer", "J"));
  return *reinterpret_cast<Module*>(pointer);
}

// A view of a Java tensor's buffer, which the caller keeps alive.
TensorPtr native_tensor(const Jvm& jvm, jobject tensor) {
  JNIEnv* env = jvm.env;
  jclass type = jvm.type("org/pytorch/executorch/Tensor");
  auto dtype = static_cast<ScalarType>(
      jvm.ok(env->CallIntMethod(tensor, jvm.method(type, "dtypeJniCode", "()I"))));
  auto shape = static_cast<jlongArray>(
      env->GetObjectField(tensor, jvm.ok(env->GetFieldID(type, "shape", "[J"))));
  std::vector<jlong> lengths(env->GetArrayLength(shape));
  env->GetLongArrayRegion(shape, 0, lengths.size(), lengths.data());
  jobject buffer = jvm.ok(env->CallObjectMethod(
      tensor, jvm.method(type, "getRawDataBuffer", "()Ljava/nio/Buffer;")));
  void* data = env->GetDirectBufferAddress(buffer);
  jlong count = 1;
  for (jlong length : lengths) count *= length;
  if (!executorch::runtime::isValid(dtype) || env->GetDirectBufferCapacity(buffer) != count) {
    jvm.fail(Error::InvalidArgument, "a tensor's buffer does not fit its shape and type");
  }
  for (jobject local : {static_cast<jobject>(type), static_cast<jobject>(shape), buffer}) {
    env->DeleteLocalRef(local);
  }
  return make_tensor_ptr(std::vector<SizesType>(lengths.begin(), lengths.end()), data, dtype);
}

// An output as a Java tensor on the same memory.
jobject java_tensor(const Jvm& jvm, const Tensor& tensor) {
  JNIEnv* env = jvm.env;
  std::vector<jlong> lengths(tensor.sizes().begin(), tensor.sizes().end());
  jlongArray shape = jvm.ok(env->NewLongArray(lengths.size()));
  env->SetLongArrayRegion(shape, 0, lengths.size(), lengths.data());
  jobject order = jvm.make("java/nio/ByteOrder", "nativeOrder", "()Ljava/nio/ByteOrder;");
  jobject plain = jvm.ok(
      env->NewDirectByteBuffer(const_cast<void*>(tensor.const_data_ptr()), tensor.nbytes()));
  jclass buffers = jvm.type("java/nio/ByteBuffer");
  jmethodID ordered =
      jvm.method(buffers, "order", "(Ljava/nio/ByteOrder;)Ljava/nio/ByteBuffer;");
  jobject bytes = jvm.ok(env->CallObjectMethod(plain, ordered, order));
  return jvm.make("org/pytorch/executorch/Tensor", "nativeNewTensor",
                  "(Ljava/nio/ByteBuffer;[JI" HYBRID ")" TENSOR, bytes, shape,
                  static_cast<jint>(tensor.scalar_type()), hybrid(jvm, nullptr));
}

EValue native_value(const Jvm& jvm, jobject value, std::vector<TensorPtr>& tensors) {
  JNIEnv* env = jvm.env;
  jclass type = jvm.type("org/pytorch/executorch/EValue");
  auto get = [&](const char* name, const char* signature) {
    return jvm.method(type, name, signature);
  };
  switch (env->GetIntField(value, jvm.ok(env->GetFieldID(type, "mTypeCode", "I")))) {
    case kTensor:
      tensors.push_back(native_tensor(
          jvm, jvm.ok(env->CallObjectMethod(value, get("toTensor", "()" TENSOR)))));
      return EValue(*tensors.back());
    case kInt:
      return EValue(static_cast<int64_t>(jvm.ok(env->CallLongMethod(value, get("toInt", "()J")))));
    case kDouble:
      return EValue(jvm.ok(env->CallDoubleMethod(value, get("toDouble", "()D"))));
    case kBool:
      return EValue(jvm.ok(env->CallBooleanMethod(value, get("toBool", "()Z"))) == JNI_TRUE);
  }
  jvm.fail(Error::InvalidArgument, "an input is of a type that methods do not take");
}

jobject java_value(const Jvm& jvm, const EValue& value) {
  constexpr const char* kType = "org/pytorch/executorch/EValue";
  if (value.isTensor()) {
    return jvm.make(kType, "from", "(" TENSOR ")" EVALUE, java_tensor(jvm, value.toTensor()));
  }
  if (value.isInt()) {
    return jvm.make(kType, "from", "(J)" EVALUE, static_cast<jlong>(value.toInt()));
  }
  if (value.isDouble()) return jvm.make(kType, "from", "(D)" EVALUE, value.toDouble());
  if (value.isBool()) {
    return jvm.make(kType, "from", "(Z)" EVALUE, static_cast<jboolean>(value.toBool()));
  }
  return jvm.make(kType, "optionalNone", "()" EVALUE);
}

// As the AAR is built: one packed copy of weights that several methods use, one workspace.
void set_android_defaults() {
  BackendOption options[2];
  strcpy(options[0].key, "weight_cache_enabled");
  options[0].value = true;
  strcpy(options[1].key, "workspace_sharing_mode");
  options[1].value = 2;
  (void)executorch::runtime::set_option("XnnpackBackend", {options, 2});
}

}  // namespace

#define NATIVE(result, name) \
  extern "C" JNIEXPORT result JNICALL Java_org_pytorch_executorch_Module_##name

extern "C" JNIEXPORT jint JNICALL JNI_OnLoad(JavaVM*, void*) {
  executorch::runtime::register_pal(executorch::runtime::PalImpl::create(keep_log, __FILE__));
  executorch::runtime::runtime_init();
  set_android_defaults();
  return JNI_VERSION_1_6;
}

extern "C" JNIEXPORT void JNICALL
Java_com_facebook_jni_HybridData_00024Destructor_deleteNative(JNIEnv*, jclass, jlong pointer) {
  delete reinterpret_cast<Module*>(pointer);
}

NATIVE(jobject, initHybrid)(JNIEnv* env, jclass, jstring path, jint mode, jint threads) {
  return entry(env, [&](Jvm jvm) {
    auto module = std::make_unique<Module>(jvm.text(path), static_cast<Module::LoadMode>(mode));
    if (threads > 0) {
      executorch::extension::threadpool::get_threadpool()->_unsafe_reset_threadpool(threads);
    }
    return hybrid(jvm, std::move(module));
  });
}

NATIVE(jobjectArray, executeNative)(JNIEnv* env, jobject self, jstring method, jobjectArray given) {
  return entry(env, [&](Jvm jvm) {
    std::vector<TensorPtr> tensors;
    std::vector<EValue> inputs;
    for (jsize i = 0; i < env->GetArrayLength(given); i++) {
      inputs.push_back(framed(jvm, [&] {
        return native_value(jvm, env->GetObjectArrayElement(given, i), tensors);
      }));
    }
    std::string name = jvm.text(method);
    auto outputs = module_of(jvm, self).execute(name, inputs);
    jvm.check(outputs.error(), "cannot run method " + name);
    jclass type = jvm.type("org/pytorch/executorch/EValue");
    jobjectArray results = jvm.ok(env->NewObjectArray(outputs->size(), type, nullptr));
    for (size_t i = 0; i < outputs->size(); i++) {
      jobject value = framed(jvm, [&] { return java_value(jvm, outputs->at(i)); });
      env->SetObjectArrayElement(results, i, value);
      env->DeleteLocalRef(value);
    }
    return results;
  });
}

NATIVE(jint, loadMethodNative)(JNIEnv* env, jobject self, jstring method) {
  return entry(env, [&](Jvm jvm) {
    return static_cast<jint>(module_of(jvm, self).load_method(jvm.text(method)));
  });
}

NATIVE(jobjectArray, getMethodsNative)(JNIEnv* env, jobject self) {
  return entry(env, [&](Jvm jvm) {
    auto names = module_of(jvm, self).method_names();
    jvm.check(names.error(), "cannot load the program");
    return jvm.texts(*names);
  });
}

NATIVE(jobjectArray, getUsedBackends)(JNIEnv* env, jobject self, jstring method) {
  return entry(env, [&](Jvm jvm) {
    auto meta = module_of(jvm, self).method_meta(jvm.text(method));
    jvm.check(meta.error(), "cannot read a method's backends");
    std::set<std::string> names;
    for (size_t i = 0; i < meta->num_backends(); i++) names.insert(*meta->get_backend_name(i));
    return jvm.texts(names);
  });
}

NATIVE(jobjectArray, readLogBufferNative)(JNIEnv* env, jobject) { return last_log(env); }

NATIVE(jobjectArray, readLogBufferStaticNative)(JNIEnv* env, jclass) { return last_log(env); }
