package io.hydraopt

import io.hydraopt.ManifestFormat.LARGEST
import io.hydraopt.ManifestFormat.MANIFEST
import io.hydraopt.ManifestFormat.PROGRAM
import io.hydraopt.ManifestFormat.SHARED
import io.hydraopt.ManifestFormat.TOKENIZER
import io.hydraopt.ManifestFormat.WRITER
import java.io.File
import java.io.FileInputStream
import java.io.IOException
import java.security.MessageDigest
import java.util.Locale
import kotlin.concurrent.read

/**
 * A checked directory of `hydraopt export`: manifest, files and packs.
 *
 * Packs are mapped, not read. A bundle may be opened and read on any thread.
 *
 * @property directory the bundle's directory.
 * @property manifest the bundle's manifest.
 */
class TaskBundle private constructor(
    val directory: File,
    val manifest: Manifest,
    checked: CheckedFiles?
) {
    /** Names of the tasks, in the bundle's order. */
    val tasks: List<String> get() = manifest.tasks

    /** Bytes of all files that are needed on a phone, without the manifest. */
    val bytes: Long
        get() = manifest.files.values.sumOf { it.bytes } +
            manifest.packs.values.map { File(directory, it.file) }.distinct().sumOf { it.length() }

    internal val program: File get() = File(directory, PROGRAM)

    internal val tokenizer: File?
        get() = if (TOKENIZER in manifest.files) File(directory, TOKENIZER) else null

    /** The shared pack, if `unpack` takes it. */
    private val shared: Pack?

    private val packs: Map<String, Pack>

    init {
        for ((name, record) in manifest.files) {
            val file = File(directory, name)
            checkSize(file, record)
            checked?.unlessKnown(file, "$name $record") { checkHash(file, record) }
        }
        val swap = manifest.swap
        val records = if (swap is Swap.Inputs) swap.packs else mapOf()
        val mapped = records.values.distinct().associateWith { Pack(directory, it, checked) }
        packs = records.mapValues { mapped.getValue(it.value) }
        shared = manifest.files[SHARED]
            ?.let { Pack(directory, PackRecord(SHARED, 0, it.bytes, it.sha256), checked = null) }
        checked?.save()
    }

    /** Checks and returns the payloads that `unpack` takes for a task. Throws [BundleException]. */
    internal fun packs(task: String): List<Pack> =
        listOfNotNull(shared, packs.getValue(task)).onEach { it.check() }

    /**
     * Installs an update, a new task or a newer version of one, in this bundle's directory.
     *
     * The end of the process at any moment leaves the old bundle or the new one. This bundle and
     * its sessions keep what they have: open the directory again to switch to the task. One
     * process may change a bundle at a time; its threads take turns.
     *
     * @param update the file that `hydraopt add --delta` wrote, in a copy of this bundle.
     * @param publicKey the developer's key; null takes any update.
     * @return the task and its version.
     * @throws TaskException the bundle has this version of the task already, or a newer one.
     * @throws BundleException the update is damaged, not signed by the key, for another bundle or
     *   of another layout, or the bundle takes no further task.
     * @throws OutputException the directory cannot be written.
     */
    @JvmOverloads
    fun install(update: File, publicKey: Ed25519? = null): TaskUpdate =
        Installer(directory).install(update, publicKey)

    /**
     * Removes a task from this bundle's directory, with its pack, as safely as [install].
     *
     * @throws TaskException there is no such task, or no other one.
     * @throws BundleException the bundle has its tasks in the program.
     * @throws OutputException the directory cannot be written.
     */
    fun remove(task: String) = Installer(directory).remove(task)

    /** Opens bundles. */
    companion object {
        /**
         * Opens a bundle.
         *
         * @param directory output of `hydraopt export`, or a copy.
         * @param hashes whether to check every SHA-256, which reads all files once;
         *   otherwise only sizes are checked. A switch always checks its pack's hash.
         * @param cache a directory that nobody else can write, such as `context.cacheDir`: what was
         *   checked is remembered there, and not read again until it changes. Null: always read.
         * @throws BundleException a file is missing, damaged, of another bundle or of
         *   another version, or the directory is not readable.
         */
        @JvmStatic
        @JvmOverloads
        fun open(directory: File, hashes: Boolean = true, cache: File? = null): TaskBundle =
            Installer.LOCK.read {
                val manifest = readManifest(File(directory, MANIFEST))
                val record = cache?.let {
                    val path = directory.canonicalPath.toByteArray()
                    File(it, sha256(path) + CHECKED)
                }
                TaskBundle(directory, manifest, if (hashes) CheckedFiles(record) else null)
            }

        private const val CHECKED = ".checked"

        internal fun readManifest(path: File): Manifest {
            val directory = path.absoluteFile.parentFile
            if (directory.isDirectory && !directory.canExecute()) {
                throw BundleException(
                    "$directory cannot be read: the app has no permission; copy the bundle into " +
                        "the app's own files"
                )
            }
            if (!path.isFile) {
                throw BundleException("$path is missing; expected a directory that $WRITER wrote")
            }
            if (path.length() > LARGEST) {
                throw BundleException(
                    "$path has ${grouped(path.length())} bytes, expected at most " +
                        "${grouped(LARGEST)}; it is none that $WRITER wrote"
                )
            }
            try {
                return ManifestFormat.read(path, readable(path) { path.readBytes() })
            } catch (error: FormatException) {
                val reason = oneLine("${error.message}")
                throw BundleException(
                    "$path is damaged ($reason); write it again with $WRITER",
                    error
                )
            }
        }

        private fun checkSize(path: File, expected: FileRecord) {
            if (!path.isFile) throw BundleException("$path is missing; export or copy it again")
            val bytes = path.length()
            if (bytes != expected.bytes) {
                throw BundleException(
                    "$path is damaged or from another directory: ${grouped(bytes)} bytes, " +
                        "expected ${grouped(expected.bytes)}; export or copy it again"
                )
            }
        }

        private fun checkHash(path: File, expected: FileRecord) {
            val hash = sha256(path)
            if (hash != expected.sha256) {
                throw BundleException(
                    "$path is damaged or from another directory: SHA-256 ${hash.take(12)}…, " +
                        "expected ${expected.sha256.take(12)}…; export or copy it again"
                )
            }
        }

        private fun sha256(path: File): String = readable(path) {
            val digest = MessageDigest.getInstance("SHA-256")
            val block = ByteArray(1 shl 17)
            FileInputStream(path).use {
                while (true) {
                    val count = it.read(block)
                    if (count < 0) break
                    digest.update(block, 0, count)
                }
            }
            digest.digest().hex()
        }

        private inline fun <T> readable(path: File, read: () -> T): T =
            try {
                read()
            } catch (error: IOException) {
                val reason = error.message
                throw BundleException(
                    "$path cannot be read ($reason); give the app access to it or copy it again",
                    error
                )
            }
    }
}

internal fun grouped(bytes: Long): String = String.format(Locale.ROOT, "%,d", bytes)

internal fun ByteArray.hex(): String {
    val digits = CharArray(2 * size) {
        Character.forDigit(this[it / 2].toInt() shr (if (it % 2 == 0) 4 else 0) and 15, 16)
    }
    return String(digits)
}
