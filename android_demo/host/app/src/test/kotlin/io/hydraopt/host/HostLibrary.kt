package io.hydraopt.host

import com.facebook.soloader.nativeloader.NativeLoader
import com.facebook.soloader.nativeloader.NativeLoaderDelegate

/**
 * Has ExecuTorch's classes call the host's library where Android has libexecutorch.so.
 *
 * A library belongs to the class loader of whoever loads it: this class and ExecuTorch's stay
 * outside of Robolectric's sandbox, and tests on the plain JVM use the same ones.
 */
object HostLibrary : NativeLoaderDelegate {
    fun install() = NativeLoader.initIfUninitialized(this)

    override fun loadLibrary(shortName: String, flags: Int): Boolean {
        if (shortName == "executorch") System.load(System.getProperty("host.library"))
        return true
    }

    override fun getLibraryPath(libName: String): String? = null

    override fun getSoSourcesVersion(): Int = 0
}
