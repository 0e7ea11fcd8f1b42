package org.pytorch.executorch

import com.facebook.jni.HybridData
import com.facebook.soloader.nativeloader.NativeLoader
import com.facebook.soloader.nativeloader.SystemDelegate
import java.io.Closeable
import java.io.File
import java.util.concurrent.locks.ReentrantLock

/** Stand-in: a program, one call at a time. */
open class Module private constructor(path: String, loadMode: Int, numThreads: Int) : Closeable {
    private val mHybridData: HybridData = initHybrid(path, loadMode, numThreads)
    private val lock = ReentrantLock()

    init {
        getMethodsNative() // loads the program: a damaged file fails here, as with the AAR
    }

    open fun forward(vararg inputs: EValue): Array<EValue> = execute("forward", *inputs)

    open fun execute(methodName: String, vararg inputs: EValue): Array<EValue> =
        alone { executeNative(methodName, *inputs) }

    open fun loadMethod(methodName: String): Unit = alone {
        val code = loadMethodNative(methodName)
        if (code != 0) {
            val what = "cannot load $methodName"
            throw ExecutorchRuntimeException.makeExecutorchException(code, what)
        }
    }

    open fun getMethods(): Array<String> = alone { getMethodsNative() }

    open fun destroy() {
        check(lock.tryLock()) { "a method is running" }
        try {
            if (mHybridData.isValid) mHybridData.resetNative()
        } finally {
            lock.unlock()
        }
    }

    override fun close() = destroy()

    private inline fun <T> alone(call: () -> T): T {
        lock.lock()
        try {
            check(mHybridData.isValid) { "the module was destroyed" }
            return call()
        } finally {
            lock.unlock()
        }
    }

    private external fun executeNative(methodName: String, vararg inputs: EValue): Array<EValue>

    private external fun loadMethodNative(methodName: String): Int

    private external fun getMethodsNative(): Array<String>

    companion object {
        const val LOAD_MODE_FILE = 0
        const val LOAD_MODE_MMAP = 1

        init {
            if (!NativeLoader.isInitialized()) NativeLoader.init(SystemDelegate())
            NativeLoader.loadLibrary("executorch")
        }

        @JvmStatic
        @JvmOverloads
        fun load(modelPath: String?, loadMode: Int = LOAD_MODE_FILE, numThreads: Int = 0): Module {
            require(modelPath != null && File(modelPath).isFile) { "there is no file $modelPath" }
            return Module(modelPath, loadMode, numThreads)
        }

        @JvmStatic
        private external fun initHybrid(path: String, loadMode: Int, numThreads: Int): HybridData

        @JvmStatic
        fun readLogBufferStatic(): Array<String>? = readLogBufferStaticNative()

        @JvmStatic
        private external fun readLogBufferStaticNative(): Array<String>?
    }
}
