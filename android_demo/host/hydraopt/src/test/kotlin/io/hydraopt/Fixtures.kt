package io.hydraopt

import com.facebook.soloader.nativeloader.NativeLoader
import com.facebook.soloader.nativeloader.NativeLoaderDelegate
import java.io.File
import java.security.MessageDigest
import kotlin.math.sqrt
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue

/** What tests/android_build.py made for this run: bundles, and what Python makes of the same inputs. */
object Fixtures {
    private val root = File(System.getProperty("fixtures"))

    fun file(name: String): File = File(root, name)

    /** The records of a JSON file that Python wrote. */
    internal fun records(name: String): List<Fields> =
        (Json.parse(file(name).readText()) as List<*>).map { Fields("a record of $name", it) }

    /** The names of the bundles of recipes for a kind of model. */
    internal fun recipes(kind: String): List<String> =
        records("recipes.json").single().list(kind).map { it as String }

    internal fun floats(fields: Fields, name: String): FloatArray =
        fields.list(name).map { (it as Number).toFloat() }.toFloatArray()

    /** A copy of a bundle that a test may change. */
    fun copied(name: String): File {
        val target = File.createTempFile("bundle", "")
        target.delete()
        target.deleteOnExit()
        file(name).copyRecursively(target)
        return target
    }

    /** Puts a file in place of a bundle's; its record and the digest are right. */
    fun replace(bundle: File, name: String, content: ByteArray) {
        File(bundle, name).writeBytes(content)
        val sha256 = MessageDigest.getInstance("SHA-256").digest(content).hex()
        reseal(bundle) {
            val (bytes, hash) = listOf("\\s*\"bytes\": ", ",\\s*\"sha256\": \"")
            val record = Regex("(\"$name\": \\{$bytes)\\d+($hash)[0-9a-f]{64}")
            it.replaceFirst(record, "$1${content.size}$2$sha256")
        }
    }

    /** Changes the text of a bundle's manifest; the digest is right again. */
    fun reseal(bundle: File, change: (String) -> String) {
        val file = File(bundle, "manifest.json")
        val digest = Regex("(?<=\"digest\": \")[0-9a-f]{64}")
        val blank = change(file.readText()).replace(digest, "0".repeat(64))
        val sha256 = MessageDigest.getInstance("SHA-256").digest(blank.toByteArray()).hex()
        file.writeText(blank.replaceFirst("0".repeat(64), sha256))
    }

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
            }
        )
    }

    /** Resident bytes of this process. */
    fun resident(): Long =
        File("/proc/self/status").readLines().first { it.startsWith("VmRSS") }
            .filter(Char::isDigit).toLong() * 1024
}

/** Two programs' outputs are those of one quantised base: rounding to 8 bits may fall either way. */
fun assertNearlyEqual(where: String, expected: FloatArray, found: FloatArray) {
    assertEquals(where, expected.size, found.size)
    val error = length(FloatArray(expected.size) { expected[it] - found[it] })
    assertTrue("$where: $error", error < 0.02 * length(expected))
}

private fun length(values: FloatArray) = sqrt(values.sumOf { it.toDouble() * it })

/** The body is refused in one line that has [message]. */
inline fun <reified T : HydraOptException> refuses(message: String, crossinline body: () -> Unit) {
    val error = assertThrows(message, T::class.java) { body() }
    assertTrue("${error.message} lacks: $message", message in error.message!!)
    assertTrue(error.message, '\n' !in error.message!!)
}
