// What native methods need of the JVM: classes and members by name, texts, exceptions.

#pragma once

#include <executorch/runtime/core/error.h>
#include <jni.h>

#include <exception>
#include <string>
#include <type_traits>

struct Thrown {};  // a Java exception is pending

// A call's view of the JVM: every failure of JNI itself unwinds to the native method's entry.
class Jvm {
 public:
  explicit Jvm(JNIEnv* env) : env(env) {}

  template <typename T>
  T ok(T value) const {
    if (env->ExceptionCheck()) throw Thrown();
    return value;
  }

  jclass type(const char* name) const { return ok(env->FindClass(name)); }

  jmethodID method(jclass type, const char* name, const char* signature) const {
    return ok(env->GetMethodID(type, name, signature));
  }

  template <typename... Arguments>
  jobject make(const char* name, const char* method, const char* signature,
               Arguments... arguments) const {
    jclass type = this->type(name);
    jmethodID found = ok(env->GetStaticMethodID(type, method, signature));
    jobject result = ok(env->CallStaticObjectMethod(type, found, arguments...));
    env->DeleteLocalRef(type);
    return result;
  }

  std::string text(jstring string) const {
    const char* bytes = ok(env->GetStringUTFChars(string, nullptr));
    std::string copy(bytes);
    env->ReleaseStringUTFChars(string, bytes);
    return copy;
  }

  template <typename Texts>
  jobjectArray texts(const Texts& all) const {
    jobjectArray array = ok(env->NewObjectArray(all.size(), type("java/lang/String"), nullptr));
    jsize next = 0;
    for (const auto& one : all) {
      jstring string = ok(env->NewStringUTF(one.c_str()));
      env->SetObjectArrayElement(array, next++, string);
      env->DeleteLocalRef(string);
    }
    return array;
  }

  [[noreturn]] void fail(executorch::runtime::Error code, const std::string& message) const {
    jstring details = ok(env->NewStringUTF(message.c_str()));
    jobject error = make("org/pytorch/executorch/ExecutorchRuntimeException",
                         "makeExecutorchException",
                         "(ILjava/lang/String;)Ljava/lang/RuntimeException;",
                         static_cast<jint>(code), details);
    env->Throw(static_cast<jthrowable>(error));
    throw Thrown();
  }

  void check(executorch::runtime::Error error, const std::string& message) const {
    if (error != executorch::runtime::Error::Ok) fail(error, message);
  }

  JNIEnv* const env;
};

// Runs the body of a native method; what it throws becomes, or is already, a Java exception.
template <typename Body>
auto entry(JNIEnv* env, Body body) -> decltype(body(Jvm(env))) {
  try {
    return body(Jvm(env));
  } catch (const Thrown&) {
  } catch (const std::exception& error) {
    if (jclass type = env->FindClass("java/lang/RuntimeException")) {
      env->ThrowNew(type, error.what());
    }
  }
  return {};
}

// Gives a body its own frame of local references: a call makes many.
template <typename Body>
auto framed(const Jvm& jvm, Body body) -> decltype(body()) {
  if (jvm.env->PushLocalFrame(32) != 0) throw Thrown();
  try {
    auto result = body();
    if constexpr (std::is_convertible_v<decltype(result), jobject>) {
      return jvm.env->PopLocalFrame(result);
    } else {
      jvm.env->PopLocalFrame(nullptr);
      return result;
    }
  } catch (...) {
    jvm.env->PopLocalFrame(nullptr);
    throw;
  }
}
