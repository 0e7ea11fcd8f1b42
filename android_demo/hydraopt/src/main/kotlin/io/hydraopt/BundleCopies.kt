package io.hydraopt

import io.hydraopt.ManifestFormat.MANIFEST
import io.hydraopt.ManifestFormat.WRITER
import java.io.File
import java.io.IOException

/** The copying was stopped. */
class StoppedException : RuntimeException()

/**
 * Copies of bundles in the app's own files, where ExecuTorch opens them and updates change them.
 *
 * A copy has its name once it is whole, and a failure leaves the one before. Names that begin with
 * a dot are of copies that are not whole.
 *
 * @param directory where the copies are; nothing else should be there.
 * @param cache as in [TaskBundle.open].
 */
class BundleCopies(private val directory: File, private val cache: File? = null) {
    /** Makes the directory, and cleans up after a process that was killed: at the app's start. */
    fun tidy() {
        directory.mkdirs()
        for (old in directory.listFiles().orEmpty().filter { it.name.startsWith(OLD) }) {
            old.renameTo(File(directory, old.name.removePrefix(OLD))) // fails if there is a new one
        }
        directory.listFiles().orEmpty().filter { it.name.startsWith(ASIDE) }
            .forEach { it.deleteRecursively() }
    }

    /** The names of all copies, also of damaged ones. */
    val names: List<String>
        get() = directory.listFiles().orEmpty()
            .filter { it.isDirectory && !it.name.startsWith(ASIDE) }.map { it.name }.sorted()

    /**
     * Opens the copy of a bundle, with the updates that it has got.
     *
     * It is made the first time, and made anew when the source has another manifest than the one
     * that was copied, or the copy is damaged; either loses the updates.
     *
     * @param stopped polled between blocks of a copy.
     * @throws BundleException the source is no bundle, damaged, or cannot be read.
     * @throws OutputException there is no space.
     * @throws StoppedException the copy was stopped and removed.
     */
    @JvmOverloads
    fun open(source: Source, stopped: () -> Boolean = { false }): TaskBundle =
        unchanged(source) ?: copy(source, stopped)

    private fun unchanged(source: Source): TaskBundle? {
        val target = target(source)
        val copied = File(target, COPIED)
        if (!copied.isFile || copied.readText() != hash(source)) return null
        return try {
            TaskBundle.open(target, cache = cache)
        } catch (_: BundleException) {
            null
        }
    }

    /** Copies a bundle, also if there is a copy, and opens it; as [open] otherwise. */
    @JvmOverloads
    fun copy(source: Source, stopped: () -> Boolean = { false }): TaskBundle {
        val target = target(source)
        val aside = File(directory, "$ASIDE${target.name}")
        try {
            aside.deleteRecursively()
            val hash = hash(source)
            directory.mkdirs()
            CopiedFiles(source.name, stopped).copy(source, aside)
            writing(aside) { File(aside, COPIED).writeText(hash) }
            TaskBundle.open(aside)
            replace(target, aside)
        } finally {
            aside.deleteRecursively()
        }
        return TaskBundle.open(target, hashes = false)
    }

    /** Of the source's manifest. */
    private fun hash(source: Source): String = reading(source.name) {
        val manifest = source.children.orEmpty().find { it.name == MANIFEST }
            ?: throw BundleException(
                "${source.name} has no $MANIFEST; expected a directory that $WRITER wrote"
            )
        sha256(manifest.open().use { it.readBytes() })
    }

    /** Files that a session has mapped stay what they are, as they are not written to. */
    private fun replace(target: File, aside: File) {
        val old = File(directory, "$OLD${target.name}")
        old.deleteRecursively()
        target.renameTo(old)
        if (!aside.renameTo(target)) {
            old.renameTo(target)
            throw OutputException("$aside cannot be renamed to $target; free some space")
        }
        old.deleteRecursively()
    }

    private fun target(source: Source) = File(directory, plain(source.name))

    private fun plain(name: String): String =
        name.map { if (it.isLetterOrDigit() || it in "._-") it else '_' }.joinToString("")
            .trimStart('.').ifEmpty { "bundle" }

    private companion object {
        const val ASIDE = "."
        const val OLD = "..old-"
        const val COPIED = ".copied" // the hash of the manifest that was copied
    }
}

/** Copies a source's files; [name] is that of the bundle. */
private class CopiedFiles(private val name: String, private val stopped: () -> Boolean) {
    fun copy(source: Source, target: File) {
        val children = reading(name) { source.children }
        if (children == null) return copyFile(source, target)
        writing(target) { if (!target.mkdirs()) throw IOException("it cannot be made") }
        for (child in children) {
            if ('/' in child.name || child.name in setOf("", ".", "..")) {
                throw BundleException(
                    "$name cannot be copied: '${child.name}' is not a file's name; rename it"
                )
            }
            copy(child, File(target, child.name))
        }
    }

    private fun copyFile(source: Source, target: File) {
        val block = ByteArray(1 shl 17)
        reading(name) { source.open() }.use { input ->
            writing(target) { target.outputStream() }.use { output ->
                while (true) {
                    if (stopped()) throw StoppedException()
                    val count = reading(name) { input.read(block) }
                    if (count < 0) break
                    writing(target) { output.write(block, 0, count) }
                }
                writing(target) { output.fd.sync() } // before its name says that it is whole
            }
        }
    }
}

private fun <T> reading(name: String, read: () -> T): T =
    try {
        read()
    } catch (error: IOException) {
        throw BundleException("$name cannot be copied (${error.message}); try again", error)
    } catch (error: SecurityException) {
        throw BundleException(
            "$name cannot be read: the app has no permission; pick the directory again",
            error
        )
    }

private fun <T> writing(path: File, write: () -> T): T =
    try {
        write()
    } catch (error: IOException) {
        throw OutputException("cannot write $path (${error.message}); free some space", error)
    }
