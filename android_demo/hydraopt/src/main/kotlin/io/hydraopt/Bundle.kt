package io.hydraopt

import io.hydraopt.ManifestFormat.LAYOUT
import io.hydraopt.ManifestFormat.MANIFEST
import io.hydraopt.ManifestFormat.PROGRAM
import io.hydraopt.ManifestFormat.SHARED
import io.hydraopt.ManifestFormat.TOKENIZER
import java.io.File
import java.io.FileInputStream
import java.io.IOException
import java.security.MessageDigest

/**
 * A directory that `hydraopt export` wrote, checked: its manifest, and every file's size and hash.
 *
 * Packs are mapped, not read. A bundle may be opened on any thread, and read on all.
 *
 * @property directory where it lies.
 * @property manifest what it holds.
 */
class Bundle private constructor(val directory: File, val manifest: Manifest) {
    /** Names of the tasks, in the bundle's order. */
    val tasks: List<String> get() = manifest.tasks

    /** Bytes of all files together, without the manifest. */
    val bytes: Long get() = manifest.files.values.sumOf { it.bytes }

    internal val program: File get() = File(directory, PROGRAM)

    internal val tokenizer: File?
        get() = if (TOKENIZER in manifest.files) File(directory, TOKENIZER) else null

    private val packs = manifest.packs.mapValues { Pack.map(directory, it.value) }
    internal val shared: Pack?
    private val binding: ByteArray?

    init {
        if (manifest.swap == Swap.INPUTS) {
            shared = Pack.map(directory, PackRecord(SHARED, 0, manifest.files.getValue(SHARED).bytes))
            shared.check(null)
            val digest = MessageDigest.getInstance("SHA-256")
            digest.update(File(directory, LAYOUT).readBytes())
            digest.update(shared.payload.duplicate())
            binding = digest.digest().copyOf(BINDING)
        } else {
            shared = null
            binding = null
        }
    }

    /** A task's pack, checked now. Throws [BundleException]. */
    internal fun pack(task: String): Pack = packs.getValue(task).also { it.check(binding) }

    companion object {
        private const val BINDING = 16

        /**
         * Opens a bundle.
         *
         * @param directory what `hydraopt export` wrote, or a copy of it.
         * @param hashes whether every file's SHA-256 is computed, which reads all of it once; else
         *   only sizes are compared. Packs are hashed at every switch in any case.
         * @throws BundleException a file that is missing, damaged, from another bundle or of
         *   another version, or a directory that may not be read.
         */
        @JvmStatic
        @JvmOverloads
        fun open(directory: File, hashes: Boolean = true): Bundle {
            val manifest = readManifest(File(directory, MANIFEST))
            for ((name, record) in manifest.files) check(File(directory, name), record, hashes)
            return Bundle(directory, manifest)
        }

        private fun readManifest(path: File): Manifest {
            if (!path.isFile) {
                throw BundleException("$path is missing; expected a directory that `hydraopt export` wrote")
            }
            try {
                val fields = Fields("it", Json.parse(path.readText()))
                val version = fields.any("format_version")
                if (version != ManifestFormat.VERSION) {
                    throw BundleException(
                        "$path has format version $version, expected ${ManifestFormat.VERSION}; " +
                            "update hydraopt",
                    )
                }
                return ManifestFormat.read(fields)
            } catch (error: FormatException) {
                throw BundleException("$path is damaged (${error.message}); export again", error)
            } catch (error: IOException) {
                throw BundleException(
                    "$path cannot be read (${error.message}); give the app access to it or copy the " +
                        "bundle again",
                    error,
                )
            }
        }

        private fun check(path: File, expected: FileRecord, hashes: Boolean) {
            if (!path.isFile) {
                throw BundleException("$path is missing; export or copy the bundle again")
            }
            val bytes = path.length()
            if (bytes != expected.bytes) {
                throw BundleException(
                    "$path is damaged or from another bundle: $bytes bytes, expected " +
                        "${expected.bytes} bytes; export or copy the bundle again",
                )
            }
            val hash = if (hashes) sha256(path) else return
            if (hash != expected.sha256) {
                throw BundleException(
                    "$path is damaged or from another bundle: $bytes bytes, SHA-256 ${hash.take(12)}…, " +
                        "expected ${expected.bytes} bytes, ${expected.sha256.take(12)}…; export or " +
                        "copy the bundle again",
                )
            }
        }

        private fun sha256(path: File): String {
            val digest = MessageDigest.getInstance("SHA-256")
            val block = ByteArray(1 shl 17)
            try {
                FileInputStream(path).use {
                    while (true) {
                        val count = it.read(block)
                        if (count < 0) break
                        digest.update(block, 0, count)
                    }
                }
            } catch (error: IOException) {
                throw BundleException(
                    "$path cannot be read (${error.message}); give the app access to it or copy the " +
                        "bundle again",
                    error,
                )
            }
            return digest.digest().hex()
        }
    }
}
