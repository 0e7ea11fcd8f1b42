package io.hydraopt

import com.facebook.soloader.nativeloader.NativeLoader
import com.facebook.soloader.nativeloader.NativeLoaderDelegate
import java.io.File

/** What tests/test_android.py made for this run: bundles, and what Python makes of the same inputs. */
object Fixtures {
    private val root = File(System.getProperty("fixtures"))

    fun file(name: String): File = File(root, name)

    /** A JSON file that Python wrote. */
    fun json(name: String): Any? = Json.parse(file(name).readText())

    /** The records of a JSON file that Python wrote. */
    internal fun records(name: String): List<Fields> =
        (json(name) as List<*>).map { Fields("a record of $name", it) }

    /** Has ExecuTorch's classes call the host's library where Android has libexecutorch.so. */
    fun loadRuntime() {
        if (NativeLoader.isInitialized()) return
        NativeLoader.init(
            object : NativeLoaderDelegate {
                override fun loadLibrary(shortName: String, flags: Int): Boolean {
                    if (shortName == "executorch") System.load(System.getProperty("host.library"))
                    return true
                }

                override fun getLibraryPath(libName: String): String? = null

                override fun getSoSourcesVersion(): Int = 0
            },
        )
    }

    /** Resident bytes of this process. */
    fun resident(): Long =
        File("/proc/self/status").readLines().first { it.startsWith("VmRSS") }
            .filter(Char::isDigit).toLong() * 1024
}
